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
from hermetic.execution.outcome import Finished
from hermetic.store.operation import Resolved
from hermetic.store.sections import Damaged, Sections

Known = Mapping[tuple[str, str], Resolved]


@dataclass(frozen=True, slots=True)
class Columns:
    """``needs``/``uses``: pairs (needed action, its user), (source's number, its user), flat. ``results``:
    per action ``[key, [[output, kind, hash, size, executable], …]]``. ``targets``: the requested ones."""

    ids: Sequence[str]
    actions: Sequence[bytes]
    results: Sequence[bytes]
    needs: array[int]
    uses: array[int]
    targets: Sequence[bytes]

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
        return cls(
            tuple(finished),
            [_line(action_object(graph.actions[name])) for name in finished],
            [_result(done) for done in finished.values()],
            needs,
            uses,
            [_line(target_object(graph.targets[name])) for name in graph.requested],
        )

    def affected(self, sources: Iterable[int]) -> list[int]:
        """Actions that read one of the sources, and all that depend on those, in order."""
        readers, users = _grouped(self.uses), _grouped(self.needs)
        pending = [user for source in sources for user in readers.get(source, ())]
        found = set(pending)
        while pending:
            for user in users.get(pending.pop(), ()):
                if user not in found:
                    found.add(user)
                    pending.append(user)
        return sorted(found)

    def part(self, numbers: Sequence[int]) -> tuple[ActionGraph, Known]:
        """The graph of these actions, with the requested targets they make, and the results of the other
        actions that they need. Raises Damaged."""
        try:
            actions = {self.ids[number]: action_from(json.loads(self.actions[number])) for number in numbers}
            targets = [target_from(json.loads(line)) for line in self.targets]
            wanted = {one.id: replace(one, deps=()) for one in targets if not actions.keys().isdisjoint(_makers(one))}
            places = {name: number for number, name in enumerate(self.ids)}
            inside = set(numbers)
            outside = {need for need, user in _pairs(self.needs) if user in inside}
            outside |= {places[maker] for one in wanted.values() for maker in _makers(one)}
            known = {pair: ref for number in sorted(outside - inside) for pair, ref in self._made(number)}
            return ActionGraph(actions, wanted, tuple(wanted)), known
        except (ValueError, KeyError, TypeError, IndexError, InternalError) as error:
            raise Damaged(repr(error)) from None

    def updated(self, finished: Mapping[str, Finished]) -> Columns:
        """The columns after a part was built again."""
        results = [
            _result(finished[name]) if name in finished else old
            for name, old in zip(self.ids, self.results, strict=True)
        ]
        return replace(self, results=results)

    def _made(self, number: int) -> Iterable[tuple[tuple[str, str], Resolved]]:
        for name, kind, hash_, size, executable in json.loads(self.results[number])[1]:
            yield (self.ids[number], name), Resolved(Kind(kind), Digest(hash_, size), executable)

    # --- as bytes ----------------------------------------------------------------------------------

    def sections(self) -> dict[str, bytes]:
        return {
            "ids": _line(self.ids),
            "actions": b"\n".join(self.actions),
            "results": b"\n".join(self.results),
            "needs": self.needs.tobytes(),
            "uses": self.uses.tobytes(),
            "targets": b"\n".join(self.targets),
        }

    @classmethod
    def read(cls, sections: Sections) -> Columns:
        """Raises Damaged."""
        try:
            ids = json.loads(sections.read("ids"))
            needs, uses = array("I", sections.read("needs")), array("I", sections.read("uses"))
        except ValueError as error:
            raise Damaged(repr(error)) from None
        actions, results, targets = (sections.read(name).split(b"\n") for name in ("actions", "results", "targets"))
        if not len(ids) == len(actions) == len(results) or max(needs, default=0) >= len(ids):
            raise Damaged("columns of a graph that differ in length")
        return cls(ids, actions, results, needs, uses, targets)


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


def _grouped(flat: array[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for first, second in _pairs(flat):
        found.setdefault(first, []).append(second)
    return found
