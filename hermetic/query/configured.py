"""The configured target graph as queries see it: a node is a target under the settings its closure reads, and
selects are resolved. Source files are nodes without a configuration.

It is made of the action graph, which says what depends on what, and of the unconfigured graph, which
says through which attribute. A dependency that no attribute names was added by the rule: a toolchain.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hermetic.action import ActionGraph, TargetNode
from hermetic.errors import BuildFileError, HbError, Location, did_you_mean
from hermetic.label import Label
from hermetic.query.catalogue import Wanted
from hermetic.query.graph import Digraph
from hermetic.query.resolved import Resolver, label_of, split
from hermetic.query.targets import Targets, absolute
from hermetic.query.values import packed_again, plain, texts


@dataclass(frozen=True, slots=True)
class Dependency:
    """``attribute``: what names it, None when the rule added it. ``tool``: built for the machine of the build."""

    node: int
    attribute: str | None
    tool: bool


@dataclass(frozen=True)
class ConfiguredTargets:
    """``declared`` holds at least every package of ``actions``. ``tools``, ``implicit``: whether edges to what
    runs on the machine of the build, and to what rules add by themselves, count. ``files``: labels of files
    that are nodes whether or not a target names them."""

    actions: ActionGraph
    declared: Targets
    tools: bool = True
    implicit: bool = True
    files: frozenset[str] = frozenset()
    faults: Mapping[int, Sequence[HbError]] = field(default_factory=dict)
    circles: Sequence[Sequence[int]] = ()

    # --- nodes -----------------------------------------------------------------------------------

    @cached_property
    def _ids(self) -> list[str]:
        """Names of all nodes, in order: ids of targets, labels of files."""
        labels = {one.id: one.label for one in self.actions.targets.values()}
        labels |= {label: label for label in self.files}
        labels |= {self.declared.label(node): self.declared.label(node) for node in self._files}
        return sorted(labels, key=lambda name: (*labels[name][2:].split(":", 1), name))

    @cached_property
    def _files(self) -> set[int]:
        """Files of the declared graph that belong here: those that targets name, and BUILD files."""
        packages = {label_of(one).package for one in self.actions.targets.values()}
        found = self.declared.build_files(packages)
        for package in packages:
            found |= self.declared.loads(package)
        found |= self.declared.build_files({self.declared.package(node) for node in found})
        for named in self._named.values():
            found.update(node for nodes in named.values() for node in nodes if self.declared.is_file(node))
        return found

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: node for node, name in enumerate(self._ids)}

    @cached_property
    def _by_label(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for node in range(len(self._ids)):
            found.setdefault(self.label(node), []).append(node)
        return found

    @cached_property
    def _by_package(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for node in range(len(self._ids)):
            found.setdefault(self.package(node), []).append(node)
        return found

    def target(self, node: int) -> TargetNode | None:
        return self.actions.targets.get(self._ids[node])

    def node_of(self, target_id: str) -> int:
        return self._numbers[target_id]

    def _unconfigured(self, node: int) -> int:
        return self.declared.node(split(self.label(node)))

    def label(self, node: int) -> str:
        target = self.target(node)
        return target.label if target else self._ids[node]

    def name(self, node: int) -> str:
        return self._ids[node]

    def kind(self, node: int) -> str:
        target = self.target(node)
        return f"{target.rule} rule" if target else self.declared.kind(self._unconfigured(node))

    def package(self, node: int) -> str:
        return self.label(node)[2:].partition(":")[0]

    def location(self, node: int) -> Location:
        target = self.target(node)
        return target.location if target else self.declared.location(self._unconfigured(node))

    def in_packages(self, packages: Iterable[str]) -> set[int]:
        return {node for package in packages for node in self._by_package.get(package, ())}

    # --- patterns --------------------------------------------------------------------------------

    def match(self, wanted: Wanted) -> tuple[set[int], Sequence[HbError]]:
        """A pattern means a target under every configuration that the graph has it in."""
        pattern = wanted.pattern
        if pattern.name is not None:
            label = Label(pattern.package, pattern.name)
            found = self._by_label.get(str(label))
            if not found:
                raise BuildFileError(
                    f"there is no configured target {label}", hint=did_you_mean(str(label), self._by_label)
                )
            return set(found), ()
        nodes = {
            node
            for package, inside in self._by_package.items()
            if pattern.matches(Label(package, "x"))
            for node in inside
            if wanted.files or self.target(node)
        }
        return nodes, ()

    # --- edges -----------------------------------------------------------------------------------

    @cached_property
    def dependencies(self) -> list[list[Dependency]]:
        """Per node, its dependencies: those of attributes in the order of declaration, then implicit ones."""
        return [self._dependencies(node) for node in range(len(self._ids))]

    def _dependencies(self, node: int) -> list[Dependency]:
        target = self.target(node)
        if target is None:
            return []
        declared = self.declared
        by_label: dict[str, list[str]] = {}
        for dep in target.deps:
            by_label.setdefault(self.actions.targets[dep].label, []).append(dep)
        found: dict[Dependency, None] = {}
        named: set[str] = set()
        tools = self._selects.tools(target.rule)
        for attribute, nodes in self._named[target.id].items():
            for one in nodes:
                label = declared.label(one)
                ids = [label] if declared.is_file(one) else by_label.get(label, [])
                named.update(ids)
                found |= dict.fromkeys(Dependency(self._numbers[dep], attribute, attribute in tools) for dep in ids)
        found |= dict.fromkeys(Dependency(self._numbers[dep], None, True) for dep in target.deps if dep not in named)
        return list(found)

    @cached_property
    def _selects(self) -> Resolver:
        return Resolver(self.declared)

    @cached_property
    def _named(self) -> Mapping[str, Mapping[str, list[int]]]:
        """Target id → attribute → the nodes of the declared graph it names under the target's settings."""
        return {target.id: self._selects.named(target) for target in self.actions.targets.values()}

    @cached_property
    def graph(self) -> Digraph:
        offsets, targets = array("i", [0]), array("i")
        for row in self.dependencies:
            kept = (
                one.node for one in row if (self.tools or not one.tool) and (self.implicit or one.attribute is not None)
            )
            targets.extend(dict.fromkeys(kept))
            offsets.append(len(targets))
        return Digraph(offsets, targets)

    def labelled(self, node: int, attribute: str) -> Iterable[int]:
        return [one.node for one in self.dependencies[node] if one.attribute == attribute]

    # --- attributes ------------------------------------------------------------------------------

    def attributes(self, node: int) -> Mapping[str, Any]:
        target = self.target(node)
        if target is None:
            return {}
        found = self._selects.attributes(target)
        return {name: packed_again(value) for name, value in found.items()}

    def texts(self, node: int, attribute: str) -> list[str]:
        target = self.target(node)
        if target is None:
            return []
        value = self.attributes(node).get(attribute)
        known = self.declared.block.head["rules"].get(self.kind(node), {}).get("attributes", {}).get(attribute)
        if value is None or known is None:
            return self.declared.texts(self._unconfigured(node), attribute)
        package = self.package(node)
        return texts(value, lambda text: absolute(text, package)) if known[0] else texts(value)

    def visibility(self, node: int) -> Sequence[str]:
        return self.declared.visibility(self._unconfigured(node))

    def attribute_names(self) -> Iterable[str]:
        return self.declared.attribute_names()

    def is_test(self, node: int) -> bool:
        target = self.target(node)
        return bool(target and target.test)

    def loads(self, package: str) -> set[int]:
        return self._here(self.declared.loads(package))

    def build_files(self, packages: Iterable[str]) -> set[int]:
        return self._here(self.declared.build_files(packages))

    def _here(self, declared: Iterable[int]) -> set[int]:
        names = map(self.declared.label, declared)
        return {self._numbers[name] for name in names if name in self._numbers}

    def describe(self, node: int) -> dict[str, Any]:
        place = self.location(node)
        target = self.target(node)
        found: dict[str, Any] = {
            "label": self.label(node),
            "kind": self.kind(node),
            "package": self.package(node),
            "location": {"path": place.path, "line": place.line},
        }
        if target is not None:
            found["settings"] = dict(target.settings)
            found["attributes"] = {name: plain(value) for name, value in self.attributes(node).items()}
            found["deps"] = [self.name(dep) for dep in self.graph.successors(node)]
            found["actions"] = list(target.actions)
        return found
