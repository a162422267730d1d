"""What ``hb build --dry-run`` says: for each action whether it is there, why it would run, how long for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from hermetic.audit.explain import Cause, Earlier, Explainer, Explanation
from hermetic.audit.pairing import View
from hermetic.audit.past import Past
from hermetic.audit.plan import Plan, plan
from hermetic.audit.text import SHOWN, cause_lines, causes_json, reason
from hermetic.audit.why import earlier_of
from hermetic.audit.words import printable
from hermetic.cli.remember import files_read, history_of
from hermetic.cli.session import Session
from hermetic.cli.streams import say
from hermetic.execution.frontend import Loaded
from hermetic.execution.history import Head, durations
from hermetic.execution.outcome import GOOD, BuildResult, Finished
from hermetic.execution.recording import record_of
from hermetic.execution.records import Event, Record, State
from hermetic.execution.symbolic import with_symbols

WOULD_RUN = "would run"


def say_plan(found: Session, loaded: Loaded, result: BuildResult, stdout: TextIO | None) -> None:
    """The plan goes where progress goes; with --json to stdout, as one object."""
    finished = with_symbols(loaded.graph, result.finished, found.sources, found.store)
    record = pseudo_record(found, loaded, finished)
    head = Head("the plan", time.time(), str(found.workspace.root), (), 0.0)
    past = Past(history_of(found.store.root), found.store)
    run = [event.step for event in record.events if event.outcome not in GOOD]
    order = record.state.behind(range(len(record.state.steps)))
    explanation = _explain(found, past, head, record, run, order)
    identities = [record.state.steps[n][:3] for n in run]
    times = plan(record.state, run, durations(past.history, head.workspace, identities), found.jobs)
    secrets = {name for done in result.finished.values() if done.outcome not in GOOD for name in done.action.secrets}
    lacking = found.vault.lacking(sorted(secrets))
    if found.args.json:
        wanted = {"secrets": sorted(secrets), "secrets_not_given": lacking}
        print(json.dumps({"plan": {**_json(record, explanation, times, order), **wanted}}), file=stdout)
        return
    for line in _lines(record.state, explanation, times, order, result):
        say(printable(line))
    if secrets:
        say("secrets: " + ", ".join(f"{one} (not given)" if one in lacking else one for one in sorted(secrets)))


def pseudo_record(found: Session, loaded: Loaded, finished: Mapping[str, Finished]) -> Record:
    """A record of what a dry run knows: keys and symbols."""
    return record_of(loaded.graph, finished, files_read(loaded, found.workspace.root))


def view_of(record: Record, past: Past) -> View:
    return View(record.state, lambda key: record.traces.get(key) or past.trace(key))


def _explain(found: Session, past: Past, head: Head, record: Record, run: list[int], order: list[int]) -> Explanation:
    view = view_of(record, past)
    events = {event.step: event for event in record.events}
    baselines = past.baselines(view, run, head)
    wanted: dict[int, Earlier | Cause] = {
        n: earlier_of(record.state.steps[n], events[n], baselines.get(n), past, head.time) for n in run
    }
    views = {one.head.id: past.view(one.head) for one in baselines.values()}
    return Explainer(view, views, found.store.read).explain(wanted, order)


def _lines(state: State, explanation: Explanation, times: Plan, order: list[int], result: BuildResult) -> Iterator[str]:
    yield from (line for line in cause_lines(explanation, state, more="--json") if line or explanation.steps)
    run = [number for number in order if number in times.seconds]
    if run:
        yield ""
    for number in run[:SHOWN]:
        one = explanation.steps[number]
        yield f"{WOULD_RUN:9}  {_seconds(times, number):>10}  {state.steps[number].title}  ←  {reason(one, state)}"
    if len(run) > SHOWN:
        yield f"and {len(run) - SHOWN} more actions (--json names them all)"
    for done in result.failures:
        yield f"hb: {done.error}"
    yield ""
    yield f"{len(order) - len(run)} of {len(order)} actions are there, {len(run)} would run"
    if run:
        guesses = f"; {len(times.guessed)} of them never ran here and are guesses (~)" if times.guessed else ""
        yield f"predicted: {times.wall:.1f} s with {times.jobs} jobs, {times.work:.1f} s of work{guesses}"
        names = [state.steps[number].title for number in times.critical]
        shown = names if len(names) <= 5 else [*names[:2], f"… {len(names) - 4} more …", *names[-2:]]
        yield f"critical path: {times.path:.1f} s: {' → '.join(shown)}"


def _seconds(times: Plan, number: int) -> str:
    return f"{'~' if number in times.guessed else ''}{times.seconds[number]:.1f} s"


def _json(record: Record, explanation: Explanation, times: Plan, order: list[int]) -> dict[str, Any]:
    events = {event.step: event for event in record.events}
    return {
        "causes": causes_json(explanation, record.state),
        "steps": [_row(record.state, n, events.get(n), explanation, times) for n in order],
        "jobs": times.jobs,
        "work_s": round(times.work, 3),
        "wall_s": round(times.wall, 3),
        "critical_path_s": round(times.path, 3),
        "critical_path": [record.state.steps[n].title for n in times.critical],
    }


def _row(state: State, number: int, event: Event | None, explanation: Explanation, times: Plan) -> dict[str, Any]:
    step = state.steps[number]
    row: dict[str, Any] = {"label": step.label, "mnemonic": step.mnemonic, "settings": step.settings}
    if number not in times.seconds:
        return {**row, "outcome": event.outcome if event else "hit-local"}
    one = explanation.steps[number]
    return {
        **row,
        "outcome": "would-run",
        "why": sorted(cause.text for cause in one.causes),
        "follows": [state.steps[n].title for n in one.follows],
        "predicted_s": times.seconds[number],
        "guessed": number in times.guessed,
    }
