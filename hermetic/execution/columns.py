"""The graph of a finished build as columns: enough to build again without loading, when only sources changed.

Every action is a line of JSON that is parsed only when the action is affected; what it needs, what
sources it reads and what it made are columns of numbers and lines beside it. Actions are numbered in
the order in which they were planned.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermetic.action import Action, ActionGraph, Kind, Ref, SourceFile, SourceTree, TargetNode
from hermetic.analysis.codec import action_from, action_object, made_in, target_from, target_object
from hermetic.digest import Digest
from hermetic.errors import InternalError
from hermetic.execution.executor import Earlier
from hermetic.execution.outcome import Finished
from hermetic.store.operation import Resolved
from hermetic.store.sections import Damaged, Sections


class _Lines(dict[str, Action]):
    """Actions by id, each parsed when it is asked for."""

    def __init__(self, places: Mapping[str, int], lines: Sequence[bytes]) -> None:
        self._places, self._lines = places, lines

    def __missing__(self, name: str) -> Action:
        self[name] = action = action_from(json.loads(self._lines[self._places[name]]))
        return action


@dataclass(frozen=True, slots=True)
class Columns:
    """``needs``/``uses``: pairs (needed action, its user), (source's number, its user), flat. ``results``:
    per action ``[key, [[output, kind, hash, size, executable], …]]``. ``targets``: the requested ones;
    ``makers``: pairs (target's number, an action that makes an output of it); ``shows``: pairs (source's
    number, number of a target that shows it as it is)."""

    ids: Sequence[str]
    actions: Sequence[bytes]
    results: Sequence[bytes]
    needs: array[int]
    uses: array[int]
    targets: Sequence[bytes]
    makers: array[int]
    shows: array[int]

    @classmethod
    def of(cls, graph: ActionGraph, finished: Mapping[str, Finished], sources: Sequence[str]) -> Columns:
        """Of a build in which every planned action has a result. ``sources``: paths, in witness order."""
        numbers = {name: number for number, name in enumerate(finished)}
        files = {path: number for number, path in enumerate(sources)}
        needs, uses = array("I"), array("I")
        for name, user in numbers.items():
            action = graph.actions[name]
            for need in {made.action for one in action.inputs if (made := made_in(one.ref)) is not None}:
                needs.extend((numbers[need], user))
            for path in sources_of(action):
                uses.extend((files[path], user))
        makers, shows = array("I"), array("I")
        for place, name in enumerate(graph.requested):
            for maker in _makers(graph.targets[name]):
                makers.extend((place, numbers[maker]))
            for path in shown_sources(graph.targets[name]):
                shows.extend((files[path], place))
        return cls(
            tuple(finished),
            [_line(action_object(graph.actions[name])) for name in finished],
            [_result(done) for done in finished.values()],
            needs,
            uses,
            [_line(target_object(graph.targets[name])) for name in graph.requested],
            makers,
            shows,
        )

    def part(self, sources: Iterable[int]) -> tuple[ActionGraph, Earlier]:
        """What has to be looked at when these sources changed: the actions that read one of them and all
        that depend on those, with the requested targets they make. Raises Damaged."""
        changed = set(sources)
        dirty = {user for source, user in _pairs(self.uses) if source in changed}
        inside = _closure(dirty, _grouped(self.needs))
        needs: dict[int, set[int]] = {number: set() for number in inside}
        for need, user in _pairs(self.needs):
            if user in needs:
                needs[user].add(need)
        try:
            shown = {place for place, maker in _pairs(self.makers) if maker in inside}
            shown |= {place for source, place in _pairs(self.shows) if source in changed}
            targets = [target_from(json.loads(self.targets[place])) for place in sorted(shown)]
            wanted = {one.id: replace(one, deps=()) for one in targets}
            places = {name: number for number, name in enumerate(self.ids)}
            makers = {places[name] for one in wanted.values() for name in _makers(one)}
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
        return ActionGraph(_Lines(places, self.actions), wanted, tuple(wanted)), earlier

    def compared(self, graph: ActionGraph, sources: Iterable[int]) -> Earlier:
        """What is still true of these columns for a graph that was loaded anew, when the contents of
        ``sources`` changed. Raises Damaged."""
        changed = set(sources)
        dirty = {user for source, user in _pairs(self.uses) if source in changed}
        before, results, keys = {}, {}, {}
        try:
            for number, name in enumerate(self.ids):
                action = graph.actions.get(name)
                if action is None:
                    continue
                before[name] = self._made(number)
                if number not in dirty and _same(self.actions[number], action):
                    results[name], keys[name] = before[name], json.loads(self.results[number])[0]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Damaged(repr(error)) from None
        needs = {
            name: frozenset(made.action for one in graph.actions[name].inputs if (made := made_in(one.ref)) is not None)
            for name in results
        }
        return Earlier(before=before, results=results, needs=needs, keys=keys)

    def updated(self, finished: Mapping[str, Finished]) -> Columns:
        """The columns after a part was built again."""
        results = [
            _result(finished[name]) if name in finished else old
            for name, old in zip(self.ids, self.results, strict=True)
        ]
        return replace(self, results=results)

    def _made(self, number: int) -> dict[str, Resolved]:
        return {
            name: Resolved(Kind(kind), Digest(hash_, size), executable)
            for name, kind, hash_, size, executable in json.loads(self.results[number])[1]
        }

    # --- as bytes ----------------------------------------------------------------------------------

    def sections(self) -> dict[str, bytes]:
        return {
            "ids": _line(self.ids),
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
            ids = json.loads(sections.read("ids"))
            needs, uses, makers, shows = (
                array("I", sections.read(name)) for name in ("needs", "uses", "makers", "shows")
            )
        except ValueError as error:
            raise Damaged(repr(error)) from None
        actions, results, targets = (sections.read(name).split(b"\n") for name in ("actions", "results", "targets"))
        if not len(ids) == len(actions) == len(results) or max(needs, default=0) >= len(ids):
            raise Damaged("columns of a graph that differ in length")
        return cls(ids, actions, results, needs, uses, targets, makers, shows)


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


def _pairs(flat: array[int]) -> Iterable[tuple[int, int]]:
    values = iter(flat)
    return zip(values, values, strict=True)


def _same(line: bytes, action: Action) -> bool:
    """Whether a line is that of an action, wherever in its BUILD.py that is written now."""
    new = action_object(action)
    return line == _line(new) or {**json.loads(line), "location": None} == {**json.loads(_line(new)), "location": None}


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
