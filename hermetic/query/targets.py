"""The unconfigured target graph as queries see it: nodes are targets and files, every branch of every
select counts. Nothing is unpacked before somebody asks for it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hermetic.analysis.targetfile import CONDITIONAL, TOOL, Block
from hermetic.errors import BuildFileError, HbError, Location, did_you_mean, from_dict
from hermetic.label import Label
from hermetic.query.catalogue import Wanted
from hermetic.query.graph import Digraph
from hermetic.query.values import plain, texts

BUILD_FILE = "BUILD.py"


@dataclass(frozen=True)
class Targets:
    """``tools``: whether edges to what only runs on the machine of the build count. ``circles``: see
    ``circles_of``."""

    block: Block
    tools: bool = True
    circles: Sequence[Sequence[int]] = ()

    # --- the graph -------------------------------------------------------------------------------

    @cached_property
    def graph(self) -> Digraph:
        whole = Digraph(self.block.offsets, self.block.deps)
        flags = self.block.flags
        if self.tools or not any(flag & TOOL for flag in set(flags)):
            return whole
        return whole.without(lambda edge: bool(flags[edge] & TOOL))

    @cached_property
    def faults(self) -> Mapping[int, Sequence[HbError]]:
        found: dict[int, list[HbError]] = {}
        for node, error in self.block.head["errors"]["targets"]:
            found.setdefault(node, []).append(from_dict(error))
        return found

    # --- patterns --------------------------------------------------------------------------------

    def match(self, wanted: Wanted) -> tuple[set[int], Sequence[HbError]]:
        pattern = wanted.pattern
        if pattern.name is not None:
            return {self.node(Label(pattern.package, pattern.name))}, ()
        packages, errors = self._packages(pattern.package, pattern.recursive)
        found: set[int] = set()
        for package in packages:
            found.update(self._range(package))
        return found if wanted.files else self._rules(found), errors

    def node(self, label: Label) -> int:
        """The number of a label. Raises BuildFileError when it is not there."""
        self._need_package(label.package)
        inside = self._range(label.package)
        text = str(label)
        at = bisect_left(self.block.labels, text, inside.start, inside.stop)
        if at < inside.stop and self.block.labels[at] == text:
            return at
        names = [self.block.labels[node].partition(":")[2] for node in inside]
        near = did_you_mean(label.name, names)
        rules = [name for node, name in zip(inside, names, strict=True) if self.block.kinds[node]]
        listed = f"//{label.package} has {', '.join(rules) or 'no targets'}"[:300]
        raise BuildFileError(f"there is no target {label}", hint=near or listed)

    def _packages(self, path: str, below: bool) -> tuple[Sequence[str], Sequence[HbError]]:
        """The packages a wildcard names, and the errors of those that could not be loaded."""
        broken = self._broken
        if not below:
            self._need_package(path)
            return [path], ()
        loaded = set(self.block.head["scope"]["loaded"])
        inside = [one for one in self.block.packages if one in loaded and lies_below(one, path)]
        errors = [error for one, error in broken.items() if lies_below(one, path)]
        if not inside and not errors:
            missing = self.block.head["errors"]["folders"].get(path)
            hint = from_dict(missing).hint if missing else did_you_mean(path, [one for one in loaded if one])
            raise BuildFileError(f"there is no package below //{path}", hint=hint)
        return inside, errors

    @cached_property
    def _broken(self) -> Mapping[str, HbError]:
        return {path: from_dict(error) for path, error in self.block.head["errors"]["packages"].items()}

    def _need_package(self, path: str) -> None:
        if path in self._broken:
            raise self._broken[path]
        at = self._package_number(path)
        if at is None:
            raise BuildFileError(f"there is no package //{path}", hint=did_you_mean(path, self.block.packages))

    def _package_number(self, path: str) -> int | None:
        at = bisect_left(self.block.packages, path)
        return at if at < len(self.block.packages) and self.block.packages[at] == path else None

    def _range(self, package: str) -> range:
        at = self._package_number(package)
        if at is None:
            return range(0)
        return range(self.block.starts[at], self.block.starts[at + 1])

    def _rules(self, nodes: Iterable[int]) -> set[int]:
        kinds = self.block.kinds
        return {node for node in nodes if kinds[node]}

    # --- nodes -----------------------------------------------------------------------------------

    def label(self, node: int) -> str:
        return self.block.labels[node]

    name = label

    @cached_property
    def _kinds(self) -> list[str]:
        return list(self.block.head["rules"])

    def kind(self, node: int) -> str:
        return self._kinds[self.block.kinds[node]]

    def is_file(self, node: int) -> bool:
        return not self.block.kinds[node]

    def package(self, node: int) -> str:
        return self.block.packages[bisect_right(self.block.starts, node) - 1]

    def location(self, node: int) -> Location:
        package, _, name = self.block.labels[node].removeprefix("//").partition(":")
        file = name if self.is_file(node) else BUILD_FILE
        return Location(f"{package}/{file}" if package else file, self.block.lines[node] or 1)

    def in_packages(self, packages: Iterable[str]) -> set[int]:
        return {node for package in packages for node in self._range(package)}

    # --- attributes ------------------------------------------------------------------------------

    def labelled(self, node: int, attribute: str) -> Iterable[int]:
        names = self.block.head["names"]
        if attribute not in names:
            return ()
        number = names.index(attribute)
        edges = range(self.block.offsets[node], self.block.offsets[node + 1])
        return [self.block.deps[edge] for edge in edges if self.block.attributes[edge] == number]

    def attributes(self, node: int) -> Mapping[str, Any]:
        if self.is_file(node):
            return {}
        return {"name": self.block.labels[node].partition(":")[2], **self.block.written(node)}

    def texts(self, node: int, attribute: str) -> list[str]:
        known = self.block.head["rules"][self.kind(node)]["attributes"].get(attribute)
        if known is None or self.is_file(node):
            return []
        is_label, _, default = known
        written = self.attributes(node)
        if attribute in written:
            value = written[attribute]
        elif attribute == "visibility":
            value = self.visibility(node)
        else:
            value = default
        if not is_label:
            return texts(value)
        package = self.package(node)
        return texts(value, lambda text: absolute(text, package))

    def visibility(self, node: int) -> list[str]:
        """Who may see a target: what it says itself, else what its package says."""
        own = self.attributes(node).get("visibility")
        package = self.package(node)
        given = own if own is not None else self.block.info.get(package, {}).get("visibility")
        return list(given) if given else ["//visibility:private"]

    def attribute_names(self) -> Iterable[str]:
        return {name for rule in self.block.head["rules"].values() for name in rule["attributes"]}

    def is_test(self, node: int) -> bool:
        return bool(self.block.head["rules"][self.kind(node)]["test"])

    def describe(self, node: int) -> dict[str, Any]:
        place = self.location(node)
        found: dict[str, Any] = {
            "label": self.label(node),
            "kind": self.kind(node),
            "package": self.package(node),
            "location": {"path": place.path, "line": place.line},
        }
        if not self.is_file(node):
            found["attributes"] = {name: plain(value) for name, value in self.attributes(node).items()}
            found["deps"] = [self.label(dep) for dep in dict.fromkeys(self.graph.successors(node))]
        return found

    # --- files of packages -----------------------------------------------------------------------

    def loads(self, package: str) -> set[int]:
        labels = self.block.info.get(package, {}).get("loads", ())
        return {self.node(Label(*label.removeprefix("//").split(":", 1))) for label in labels}

    def build_files(self, packages: Iterable[str]) -> set[int]:
        labels = self.block.labels
        wanted = (f"//{package}:{BUILD_FILE}" for package in packages)
        found = set()
        for text in wanted:
            inside = self._range(text[2:].partition(":")[0])
            at = bisect_left(labels, text, inside.start, inside.stop)
            if at < inside.stop and labels[at] == text:
                found.add(at)
        return found


def circles_of(block: Block) -> list[list[int]]:
    """Loops that no select and no transition can undo, each as its nodes in order, beginning with the first."""
    flags = block.flags
    graph = Digraph(block.offsets, block.deps).without(lambda edge: bool(flags[edge] & CONDITIONAL))
    kinds = block.kinds
    rules = {node for node in range(len(graph)) if kinds[node]}
    found = []
    for component in graph.components(rules):
        first = min(component)
        inside = set(component)
        back = [node for node in inside if first in graph.successors(node)]
        if back:
            row = graph.path({first}, set(back)) if len(component) > 1 else [first]
            found.append(row)
    return found


def absolute(text: str, package: str) -> str:
    """A label of an attribute in its absolute form; a file's name becomes its label, too."""
    if text.startswith("//"):
        path, colon, name = text[2:].partition(":")
        return text if colon else f"//{path}:{path.rpartition('/')[2] or name}"
    return f"//{package}:{text.removeprefix(':')}"


def lies_below(package: str, folder: str) -> bool:
    return not folder or package == folder or package.startswith(f"{folder}/")
