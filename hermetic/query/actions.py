"""Actions as queries see them: by number, in the order of their ids; and as nodes of a graph of their own,
where an edge leads from an action to one whose output it reads."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hermetic.action import Action, ActionGraph, Inline, Inside, Made, Mode, Ref, SourceFile, SourceTree
from hermetic.errors import Location
from hermetic.query.configured import ConfiguredTargets
from hermetic.query.graph import Digraph, Nodes


@dataclass(frozen=True)
class Digests:
    """What is known of actions without running them. ``keys``: action id → key. ``of``: a reference's
    digest, None where it is not known."""

    keys: Mapping[str, str] = field(default_factory=dict)
    of: Callable[[Ref], str | None] = lambda _: None


@dataclass(frozen=True)
class Actions:
    """An ``ActionTable`` for the environment of a query."""

    targets: ConfiguredTargets

    @cached_property
    def ids(self) -> list[str]:
        return sorted(self.targets.actions.actions)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {one: number for number, one in enumerate(self.ids)}

    @cached_property
    def _owners(self) -> Mapping[str, set[int]]:
        found: dict[str, set[int]] = {}
        for target in self.targets.actions.targets.values():
            for one in target.actions:
                found.setdefault(one, set()).add(self.targets.node_of(target.id))
        return found

    def action(self, number: int) -> Action:
        return self.targets.actions.actions[self.ids[number]]

    def number(self, action_id: str) -> int:
        return self._numbers[action_id]

    def of(self, nodes: Nodes) -> set[int]:
        found = (target for node in nodes if (target := self.targets.target(node)))
        return {self._numbers[one] for target in found for one in target.actions}

    def owners(self, action: int) -> set[int]:
        return self._owners[self.ids[action]]

    def mnemonic(self, action: int) -> str:
        return self.action(action).mnemonic

    def inputs(self, action: int) -> Iterable[str]:
        for one in self.action(action).inputs:
            yield one.path
            yield from _names(one.ref, self.targets.actions)

    def outputs(self, action: int) -> Iterable[str]:
        return (one.path for one in self.action(action).outputs)


def _names(ref: Ref, graph: ActionGraph) -> Iterator[str]:
    """What people may call a reference: paths in the workspace, the label that makes it."""
    if isinstance(ref, SourceFile):
        yield ref.path
    elif isinstance(ref, SourceTree):
        yield from (f"{ref.base}/{name}" if ref.base else name for name in ref.files)
    elif isinstance(ref, Made):
        yield graph.actions[ref.action].label
    elif isinstance(ref, Inside):
        yield graph.actions[ref.tree.action].label
        yield ref.path


@dataclass(frozen=True)
class ActionNodes:
    """Actions as nodes, for outputs."""

    table: Actions
    digests: Digests = field(default_factory=Digests)

    @cached_property
    def graph(self) -> Digraph:
        offsets, targets = array("i", [0]), array("i")
        for number in range(len(self.table.ids)):
            made = (_maker(one.ref) for one in self.table.action(number).inputs)
            targets.extend(dict.fromkeys(self.table.number(one) for one in made if one))
            offsets.append(len(targets))
        return Digraph(offsets, targets)

    def name(self, node: int) -> str:
        return self.table.ids[node]

    def kind(self, node: int) -> str:
        return self.table.action(node).mnemonic

    def package(self, node: int) -> str:
        return self.table.action(node).label[2:].partition(":")[0]

    def location(self, node: int) -> Location:
        return self.table.action(node).location

    def attributes(self, node: int) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def describe(self, node: int) -> dict[str, Any]:
        action = self.table.action(node)
        command = action.mode is Mode.COMMAND
        found: dict[str, Any] = {
            "id": action.id,
            "label": action.label,
            "mnemonic": action.mnemonic,
            "mode": action.mode.value,
            "location": {"path": action.location.path, "line": action.location.line},
            "settings": dict(action.settings),
            "argv": list(action.argv) if command else [action.argv[0]],
        }
        if not command:
            found["parameters"] = json.loads(action.argv[1])
        if action.secrets:
            found["secrets"] = list(action.secrets)
            found |= {"secret_generation": action.secret_generation} if command else {}
        found |= {
            "environment": dict(action.env),
            "platform": dict(action.platform),
            "inputs": [self._input(one.path, one.ref) for one in action.inputs],
            "outputs": [{"name": one.name, "path": one.path, "kind": one.kind.value} for one in action.outputs],
            "timeout": action.timeout,
            "key": self.digests.keys.get(action.id),
        }
        return found

    def _input(self, path: str, ref: Ref) -> dict[str, Any]:
        return {"path": path, "from": _from(ref, self.table.targets.actions), "digest": self.digests.of(ref)}


def _maker(ref: Ref) -> str | None:
    """The id of the action that makes a reference."""
    made = ref.tree if isinstance(ref, Inside) else ref
    return made.action if isinstance(made, Made) else None


def _from(ref: Ref, graph: ActionGraph) -> str:
    """Where an input comes from, in a few words."""
    if isinstance(ref, SourceFile):
        return ref.path
    if isinstance(ref, SourceTree):
        return f"{len(ref.files)} files of {ref.base or 'the workspace'}"
    if isinstance(ref, Inline):
        return "text of the rule"
    made = ref.tree if isinstance(ref, Inside) else ref
    inside = ref.path if isinstance(ref, Inside) else ""
    return f"{graph.actions[made.action].label} {made.output}{inside}"
