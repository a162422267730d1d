"""The record of what an executor said, for the history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hermetic.action import Action, ActionGraph
from hermetic.analysis.codec import made_in, needs_of
from hermetic.execution.columns import Columns, Kept
from hermetic.execution.compile_counts import Counts
from hermetic.execution.outcome import Finished, Outcome
from hermetic.execution.records import Event, Record, Shown, State, Step, Trace


def record_of(graph: ActionGraph, finished: Mapping[str, Finished], files: Mapping[str, str]) -> Record:
    """The record of what an executor said. Steps are in the order of their actions' ids."""
    place = {action_id: number for number, action_id in enumerate(sorted(finished))}
    steps: list[Step] = []
    events: list[Event] = []
    traces: dict[str, Trace] = {}
    for number, action_id in enumerate(place):
        done = finished[action_id]
        needs = {place[need] for need in needs_of(done.action) if need in place}
        steps.append(_step(done.action, done.key)._replace(needs=tuple(sorted(needs))))
        _note(number, done, events, traces)
    compiled = {place[name]: counts for name, counts in compiled_in(finished.values()).items()}
    return Record(State(tuple(steps), tuple(_targets(graph, place)), dict(files)), tuple(events), traces, compiled)


def record_of_part(before: State, ids: Sequence[str], finished: Mapping[str, Finished]) -> Record:
    """The record of a build that looked at some of the steps only; the others are as ``before``."""
    steps = list(before.steps)
    events: list[Event] = []
    traces: dict[str, Trace] = {}
    for number, action_id in enumerate(ids):
        if action_id in finished:
            steps[number] = steps[number]._replace(key=finished[action_id].key)
            _note(number, finished[action_id], events, traces)
    counts = compiled_in(finished.values())
    compiled = {number: counts[name] for number, name in enumerate(ids) if name in counts}
    return Record(State(tuple(steps), before.targets, before.files), tuple(events), traces, compiled)


def compiled_in(finished: Iterable[Finished]) -> dict[str, Counts]:
    """Action → what its compile cache did, of those that ran with one."""
    return {
        done.action.id: Counts.of(done.assisted)
        for done in finished
        if done.assisted is not None and done.outcome not in (Outcome.HIT_LOCAL, Outcome.HIT_REMOTE)
    }


def record_of_graph(
    graph: ActionGraph,
    columns: Columns,
    finished: Mapping[str, Finished],
    files: Mapping[str, str],
    before: State,
    past: Kept,
) -> Record:
    """The record of a build that looked at some of the steps of ``graph`` only. ``before``: the state of an
    earlier build, whose columns are ``past``; what is the same line there is the same step."""
    place = {name: number for number, name in enumerate(columns.ids)}
    needs: list[set[int]] = [set() for _ in place]
    for need, user in zip(columns.needs[::2], columns.needs[1::2], strict=True):
        needs[user].add(need)
    steps: list[Step] = []
    events: list[Event] = []
    traces: dict[str, Trace] = {}
    for number, name in enumerate(place):
        old = past.by_line.get(columns.actions[number])
        step = before.steps[old] if old is not None else _step(graph.actions[name], columns.key(number))
        if name in finished:
            step = step._replace(key=finished[name].key)
            _note(number, finished[name], events, traces)
        steps.append(step._replace(needs=tuple(sorted(needs[number]))))
    compiled = {place[name]: counts for name, counts in compiled_in(finished.values()).items()}
    return Record(State(tuple(steps), tuple(_targets(graph, place)), dict(files)), tuple(events), traces, compiled)


def _step(action: Action, key: str) -> Step:
    return Step(action.label, action.mnemonic, _text(action.settings), key, ())


def _text(settings: Sequence[tuple[str, str]]) -> str:
    return ",".join(f"{name}={value}" for name, value in settings)


def _note(number: int, done: Finished, events: list[Event], traces: dict[str, Trace]) -> None:
    if done.outcome is Outcome.HIT_LOCAL:
        return
    error = str(done.error) if done.error else ""
    events.append(Event(number, done.outcome.value, round(done.wall, 3), done.stdout, done.stderr, error))
    if done.trace is not None and done.key:
        traces[done.key] = Trace.of(done.trace)


def _targets(graph: ActionGraph, place: Mapping[str, int]) -> Iterable[Shown]:
    for target in graph.targets.values():
        made = [one.action for _, ref in target.outputs if (one := made_in(ref))]
        steps = [place[one] for one in dict.fromkeys((*made, *target.actions)) if one in place]
        if steps or target.id in graph.requested:
            yield Shown(target.label, _text(target.settings), target.layout, tuple(steps))
