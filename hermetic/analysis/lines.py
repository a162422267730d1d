"""An action graph as lines of JSON, one for each action and each target: how it travels and is kept.

Guarantees: a line that was read before is not read again until somebody asks for what it says; whatever is
read is checked as strictly as ``hermetic.analysis.codec`` checks a whole graph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hermetic.action import Action, ActionGraph, TargetNode
from hermetic.analysis.codec import (
    action_from,
    action_object,
    check_circles,
    check_made,
    check_references,
    check_targets,
    needs_of,
    no_collection,
    target_from,
    target_object,
)
from hermetic.errors import InternalError, LabelError

T = TypeVar("T")


def action_line(action: Action) -> bytes:
    return _line(action_object(action))


def target_line(target: TargetNode) -> bytes:
    return _line(target_object(target))


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def action_in(line: bytes) -> Action:
    """Raises InternalError."""
    return _read(line, action_from)


def target_in(line: bytes) -> TargetNode:
    """Raises InternalError."""
    return _read(line, target_from)


def _read(line: bytes, made: Callable[..., T]) -> T:
    try:
        return made(json.loads(line))
    except (KeyError, TypeError, ValueError, LabelError, RecursionError) as error:
        raise InternalError(f"the loader's answer is not an action graph: {error!r}"[:500]) from None


@dataclass(frozen=True, slots=True)
class GraphLines:
    """``requested``: ids of targets."""

    actions: Sequence[bytes]
    targets: Sequence[bytes]
    requested: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """Lines of a graph that was read before: the ids they are of, and what each action ``needs``, by id."""

    actions: Mapping[bytes, str] = field(default_factory=dict)
    targets: Mapping[bytes, str] = field(default_factory=dict)
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Parsed(Mapping[str, T]):
    """What lines say, by id, each line read when it is asked for. ``fresh``: those that were not known."""

    def __init__(self, lines: Iterable[bytes], known: Mapping[bytes, str], read: Callable[[bytes], T]) -> None:
        self._read_line = read
        self._found: dict[str, T] = {}
        self._lines: dict[str, bytes] = {}
        self.fresh: list[str] = []
        for line in lines:
            name = known.get(line)
            if name is None:
                one = read(line)
                name = one.id  # type: ignore[attr-defined]
                self._found[name] = one
                self.fresh.append(name)
            if name in self._lines:
                raise InternalError(f"the loader's answer names {name} twice")
            self._lines[name] = line

    def line(self, name: str) -> bytes:
        return self._lines[name]

    def __getitem__(self, name: str) -> T:
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._read_line(self._lines[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


def may_need_secrets(actions: Mapping[str, Action], name: str) -> bool:
    """Of a line that was not read, by its bytes: nearly no action does, and none is read to find out."""
    return b'"secrets":' in actions.line(name) if isinstance(actions, Parsed) else bool(actions[name].secrets)


def graph_in(lines: GraphLines, known: Known | None = None) -> ActionGraph:
    """The graph that lines describe. Raises InternalError. With ``known``, circles are looked for among
    actions only: builds follow nothing else."""
    with no_collection():
        actions = Parsed(lines.actions, known.actions if known else {}, action_in)
        targets = Parsed(lines.targets, known.targets if known else {}, target_in)
        graph = ActionGraph(actions, targets, lines.requested)
        if known is None:
            check_references(graph)
        else:
            _check_fresh(graph, actions, targets, known)
        return graph


def _check_fresh(graph: ActionGraph, actions: Parsed[Action], targets: Parsed[TargetNode], known: Known) -> None:
    """What is new may refer to anything there is; what was known may not have lost what it refers to."""
    needs: dict[str, Sequence[str]] = {name: known.needs.get(name, ()) for name in actions}
    old = {name: line for line, name in known.actions.items()}
    for name in actions.fresh:
        action = actions[name]
        if name in old and action_in(old[name]).outputs != action.outputs:  # its id is a hash of them, too
            raise InternalError(f"the loader's answer gives {name} other outputs than before")
        check_made(graph, (one.ref for one in action.inputs))
        needs[name] = needs_of(action)
    for need in (need for found in needs.values() for need in found):
        if need not in actions:
            raise InternalError(f"the graph has no action {need}")
    check_circles(needs)
    gone = not (actions.keys() >= old.keys() and targets.keys() >= set(known.targets.values()))
    check_targets(graph, targets if gone else targets.fresh)
