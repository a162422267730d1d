"""Attributes of configured targets: those of the declaration, with selects resolved by the target's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hermetic.action import TargetNode
from hermetic.analysis.selects import resolve
from hermetic.label import Label
from hermetic.query.targets import Targets, absolute
from hermetic.query.values import unpacked
from hermetic.settings import Setting, Value


@dataclass(frozen=True)
class Resolver:
    """``declared`` has every target that is asked about."""

    declared: Targets

    @cached_property
    def _settings(self) -> Mapping[str, Setting]:
        rows = self.declared.block.head["settings"]
        return {name: Setting(name, default, tuple(values)) for name, default, values in rows}

    def attributes(self, target: TargetNode) -> Mapping[str, Any]:
        """A target's attributes as plain values. Its settings are all that its selects read."""
        given = dict(target.settings)

        def read(name: str) -> Value:
            setting = self._settings[name]
            return setting.parse(given[name]) if name in given else setting.default

        node = self.declared.node(label_of(target))
        return {
            name: resolve(unpacked(value, target.location.path), self._settings, read, target.location)
            for name, value in self.declared.attributes(node).items()
        }

    def named(self, target: TargetNode) -> dict[str, list[int]]:
        """Attribute → the nodes of the declared graph that it names."""
        block = self.declared.block
        node = self.declared.node(label_of(target))
        package = self.declared.package(node)
        known = self._known(target.rule)
        nodes = {block.labels[dep]: dep for dep in block.deps[block.offsets[node] : block.offsets[node + 1]]}
        return {
            name: [nodes[label] for text in _strings(value) if (label := absolute(text, package)) in nodes]
            for name, value in self.attributes(target).items()
            if name in known and known[name][0]
        }

    def tools(self, rule: str) -> frozenset[str]:
        """The attributes of a rule whose targets are built for the machine of the build."""
        return frozenset(name for name, (_, tool, _) in self._known(rule).items() if tool)

    def _known(self, rule: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.declared.block.head["rules"].get(f"{rule} rule", {}).get("attributes", {})
        return found


def label_of(target: TargetNode) -> Label:
    return split(target.label)


def split(label: str) -> Label:
    """The Label that a full label text, known to be one, stands for."""
    package, _, name = label.removeprefix("//").partition(":")
    return Label(package, name)


def _strings(value: Any) -> Iterator[str]:
    """Every string in a value without selects, keys of dicts left out: what may be a label."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
