"""The graph of a finished build as columns: enough to build again without looking at what has not changed.

Every action is a line of JSON that is parsed only when the action is affected; what it needs, what
sources it reads and what it made are columns of numbers and lines beside it. Actions are numbered in
the order of their ids.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermetic.action import Action, ActionGraph, Kind, Ref, SourceFile, SourceTree, TargetNode
from hermetic.analysis.codec import made_in, needs_of
from hermetic.analysis.lines import Known, Parsed, action_in, action_line, target_in, target_line
from hermetic.digest import Digest
from hermetic.errors import InternalError
from hermetic.execution.outcome import Finished
from hermetic.execution.state import Earlier
from hermetic.store.operation import Resolved
from hermetic.store.sections import Damaged, Sections

UNKNOWN = b""  # in place of a result


@dataclass(frozen=True, slots=True)
class Columns:
    """``needs``/``uses``: pairs (needed action, its user), (source's number, its user), flat. ``results``:
    per action ``[key, [[output, kind, hash, size, executable], …]]``, or UNKNOWN. ``targets``: all of them, the
    ``requested`` first ones as they were asked for, with their ids as ``names``; ``makers``: pairs (requested
    target's number, an action that makes an output of it); ``shows``: pairs (source's number, number of a
    requested target that shows it as it is)."""

    ids: Sequence[str]
    actions: Sequence[bytes]
    results: Sequence[bytes]
    needs: array[int]
    uses: array[int]
    targets: Sequence[bytes]
    names: Sequence[str]
    requested: int
    makers: array[int]
    shows: array[int]

    @classmethod
    def of(cls, graph: ActionGraph, front: Sequence[str], past: Kept | None = None) -> tuple[Columns, list[str]]:
        """Of the actions that a build of ``graph`` plans, and the paths that sources' numbers mean: ``front``,
        then the others. Results are those of ``past``, of actions that are what they were."""
        past = past or Kept.nothing()
        needs_by, uses_by, results = {}, {}, {}
        makers_by = {name: _makers(graph.targets[name]) for name in graph.requested}
        waiting = [maker for found in makers_by.values() for maker in found]
        while waiting:
            name = waiting.pop()
            if name not in needs_by:
                needs_by[name], uses_by[name], results[name] = past.about(name, graph)
                waiting += needs_by[name]
        ids = sorted(needs_by)
        shown = {name: shown_sources(graph.targets[name]) for name in graph.requested}
        paths = list(dict.fromkeys((*front, *sorted(set().union(*uses_by.values(), *shown.values())))))
        numbers, files = _numbered(ids), _numbered(paths)
        names = list(dict.fromkeys((*graph.requested, *graph.targets)))
        columns = cls(
            ids,
            [line_of(graph.actions, name) for name in ids],
            [results[name] for name in ids],
            _flat((numbers[need], numbers[name]) for name in ids for need in needs_by[name]),
            _flat((files[path], numbers[name]) for name in ids for path in uses_by[name]),
            [line_of(graph.targets, name) for name in names],
            names,
            len(graph.requested),
            _flat((at, numbers[maker]) for at, name in enumerate(graph.requested) for maker in makers_by[name]),
            _flat((files[path], at) for at, name in enumerate(graph.requested) for path in shown[name]),
        )
        return columns, paths

    @property
    def known(self) -> Known:
        """What need not be read again in a graph loaded anew."""
        needs: dict[str, list[str]] = {name: [] for name in self.ids}
        for need, user in _pairs(self.needs):
            needs[self.ids[user]].append(self.ids[need])
        return Known(_by_line(self.actions, self.ids), _by_line(self.targets, self.names), needs)

    def part(self, sources: Iterable[int], shown: Iterable[int] = ()) -> tuple[ActionGraph, Earlier]:
        """What has to be looked at when these sources changed: the actions that read one of them or have no
        result, and all that depend on those, with the requested targets they make, and those with the
        numbers ``shown``. Raises Damaged."""
        changed = set(sources)
        dirty = {user for source, user in _pairs(self.uses) if source in changed}
        dirty |= {number for number, result in enumerate(self.results) if result == UNKNOWN}
        inside = _closure(dirty, _grouped(self.needs))
        needs: dict[int, set[int]] = {number: set() for number in inside}
        for need, user in _pairs(self.needs):
            if user in needs:
                needs[user].add(need)
        try:
            places = {*shown} | {place for place, maker in _pairs(self.makers) if maker in inside}
            places |= {place for source, place in _pairs(self.shows) if source in changed}
            targets = [target_in(self.targets[place]) for place in sorted(places)]
            wanted = {one.id: replace(one, deps=()) for one in targets}
            numbers = _numbered(self.ids)
            makers = {numbers[name] for one in wanted.values() for name in _makers(one)}
            outside = makers.union(*needs.values()) - inside
            before = {self.ids[number]: self._made(number) for number in inside}
            earlier = Earlier(
                known={(self.ids[n], name): ref for n in sorted(outside) for name, ref in self._made(n).items()},
                before=before,
                results={self.ids[number]: before[self.ids[number]] for number in inside - dirty},
                needs={self.ids[n]: frozenset(self.ids[need] for need in found) for n, found in needs.items()},
                unchanged=len(self.ids) - len(inside),
            )
        except (ValueError, KeyError, TypeError, IndexError, InternalError) as error:
            raise Damaged(repr(error)) from None
        actions = Parsed(self.actions, _by_line(self.actions, self.ids), action_in)
        return ActionGraph(actions, wanted, tuple(wanted)), earlier

    def updated(self, finished: Mapping[str, Finished]) -> Columns:
        """The columns after a part was built again."""
        results = [
            _result(finished[name]) if name in finished else old
            for name, old in zip(self.ids, self.results, strict=True)
        ]
        return replace(self, results=results)

    def _made(self, number: int) -> dict[str, Resolved]:
        if self.results[number] == UNKNOWN:
            return {}
        return {
            name: Resolved(Kind(kind), Digest(hash_, size), executable)
            for name, kind, hash_, size, executable in json.loads(self.results[number])[1]
        }

    def key(self, number: int) -> str:
        """The key an action had, "" when it has no result."""
        return str(json.loads(self.results[number])[0]) if self.results[number] != UNKNOWN else ""

    # --- as bytes ----------------------------------------------------------------------------------

    def sections(self) -> dict[str, bytes]:
        return {
            "ids": _line([self.ids, self.names, self.requested]),
            "actions": b"\n".join(self.actions),
            "results": b"\n".join(self.results),
            "needs": self.needs.tobytes(),
            "uses": self.uses.tobytes(),
            "targets": b"\n".join(self.targets),
            "makers": self.makers.tobytes(),
            "shows": self.shows.tobytes(),
        }

    @classmethod
    def read(cls, sections: Sections) -> Columns:
        """Raises Damaged."""
        try:
            ids, names, requested = json.loads(sections.read("ids"))
            needs, uses, makers, shows = (
                array("I", sections.read(name)) for name in ("needs", "uses", "makers", "shows")
            )
        except (ValueError, TypeError) as error:
            raise Damaged(repr(error)) from None
        actions, results, targets = (_split(sections.read(name)) for name in ("actions", "results", "targets"))
        if not len(ids) == len(actions) == len(results) or max(needs, default=0) >= len(ids):
            raise Damaged("columns of a graph that differ in length")
        if len(names) != len(targets) or requested > len(names):
            raise Damaged("columns of targets that differ in length")
        return cls(ids, actions, results, needs, uses, targets, names, requested, makers, shows)


@dataclass(frozen=True, slots=True)
class Kept:
    """Columns of an earlier build, to be looked up by line: what is the same line is the same action.
    ``paths``: what its sources' numbers mean."""

    columns: Columns | None
    by_line: Mapping[bytes, int]
    by_id: Mapping[str, int]
    needs: Mapping[int, Sequence[int]]
    uses: Mapping[int, Sequence[str]]

    @classmethod
    def nothing(cls) -> Kept:
        return cls(None, {}, {}, {}, {})

    @classmethod
    def of(cls, columns: Columns, paths: Sequence[str]) -> Kept:
        needs: dict[int, list[int]] = {}
        for need, user in _pairs(columns.needs):
            needs.setdefault(user, []).append(need)
        uses: dict[int, list[str]] = {}
        for source, user in _pairs(columns.uses):
            uses.setdefault(user, []).append(paths[source])
        by_line = {line: number for number, line in enumerate(columns.actions)}
        return cls(columns, by_line, _numbered(columns.ids), needs, uses)

    def about(self, name: str, graph: ActionGraph) -> tuple[Sequence[str], Sequence[str], bytes]:
        """What an action needs, the sources it reads, and its result if it is what it was."""
        if self.columns is not None:
            number = self.by_line.get(line_of(graph.actions, name))
            if number is not None:
                needs = [self.columns.ids[need] for need in self.needs.get(number, ())]
                return needs, self.uses.get(number, ()), self.columns.results[number]
        action = graph.actions[name]
        needs = list(dict.fromkeys(needs_of(action)))
        return needs, sorted(sources_of(action)), self._moved(action)

    def _moved(self, action: Action) -> bytes:
        """The result of an action that is written elsewhere in its BUILD.py now, and otherwise the same."""
        number = self.by_id.get(action.id)
        if self.columns is None or number is None:
            return UNKNOWN
        old = action_in(self.columns.actions[number])
        return self.columns.results[number] if replace(old, location=action.location) == action else UNKNOWN


def sources_of(action: Action) -> set[str]:
    """Paths of the workspace files among an action's inputs."""
    return {path for one in action.inputs for path in paths_of(one.ref)}


def paths_of(ref: Ref) -> Iterable[str]:
    """The workspace files a reference names."""
    if isinstance(ref, SourceFile):
        return (ref.path,)
    if isinstance(ref, SourceTree):
        return [f"{ref.base}/{name}".lstrip("/") for name in ref.files]
    return ()


def shown_sources(target: TargetNode) -> set[str]:
    """Files that a target shows as they are, without an action in between."""
    return {path for _, ref in target.outputs for path in paths_of(ref)}


def _makers(target: TargetNode) -> set[str]:
    return {made.action for _, ref in target.outputs if (made := made_in(ref)) is not None}


def _result(done: Finished) -> bytes:
    outputs = [
        [name, one.kind.value, one.digest.hash, one.digest.size, one.executable] for name, one in done.outputs.items()
    ]
    return _line([done.key, outputs])


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _split(data: bytes) -> list[bytes]:
    return data.split(b"\n") if data else []


def line_of(graph: Mapping[str, Action] | Mapping[str, TargetNode], name: str) -> bytes:
    if isinstance(graph, Parsed):
        return graph.line(name)
    one = graph[name]
    return action_line(one) if isinstance(one, Action) else target_line(one)


def _by_line(lines: Sequence[bytes], names: Sequence[str]) -> dict[bytes, str]:
    return dict(zip(lines, names, strict=True))


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _flat(pairs: Iterable[tuple[int, int]]) -> array[int]:
    return array("I", [number for pair in pairs for number in pair])


def _pairs(flat: array[int]) -> Iterable[tuple[int, int]]:
    values = iter(flat)
    return zip(values, values, strict=True)


def _closure(start: Iterable[int], users: Mapping[int, Sequence[int]]) -> set[int]:
    found = set(start)
    pending = list(found)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in found:
                found.add(user)
                pending.append(user)
    return found


def _grouped(flat: array[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for first, second in _pairs(flat):
        found.setdefault(first, []).append(second)
    return found
