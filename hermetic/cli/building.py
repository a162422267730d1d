"""What build and test share: run, publish, print, choose the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TextIO

from hermetic.action import ActionGraph
from hermetic.analysis.codec import made_in
from hermetic.cli import warm
from hermetic.cli.annotations import annotate
from hermetic.cli.compile_cache import compiled_line
from hermetic.cli.ended import Ended, outcome_of, show
from hermetic.cli.remember import remember
from hermetic.cli.results import print_rows, print_summary
from hermetic.cli.session import Session
from hermetic.cli.streams import say
from hermetic.errors import InternalError
from hermetic.execution.frontend import Loaded, Since
from hermetic.execution.lost import incomplete
from hermetic.execution.outcome import GOOD, BuildResult, made_by
from hermetic.execution.publish import depth
from hermetic.report.terminal import TerminalReporter
from hermetic.store.protocols import MissingBlob


def build(
    found: Session, load: Callable[[Since | None], Loaded], command: Sequence[str], stdout: TextIO | None = None
) -> Ended:
    """Build what ``load`` gives, from the last build's snapshot where that is enough. ``stdout``: where
    the lines of results go."""
    reporter = TerminalReporter()
    past = warm.recall(found, command)
    if past is not None:
        ended = _from_past(found, load, command, reporter, past, stdout)
    else:
        ended = _whole(found, load(None), command, reporter, stdout)
    for done in ended.result.failures:
        if isinstance(done.error, InternalError) and done.error.__cause__ is not None:
            _keep_report(done.error.__cause__)
    for error in ended.errors:
        say(f"hb: {error}")
    result = ended.result
    annotate(result.failures, ended.errors, found.workspace.root)
    reporter.end(result)
    if compiled := compiled_line(result):
        say(f"compile cache: {compiled}")
    print_rows(ended.lines(), found.args.json, stdout)
    if found.args.json:
        print_summary(result.build_id, result.wall, result.actions, result.counts(), stdout)
    return ended


def _from_past(
    found: Session,
    load: Callable[[Since | None], Loaded],
    command: Sequence[str],
    reporter: TerminalReporter,
    past: warm.Past,
    stdout: TextIO | None,
) -> Ended:
    """Built on what is remembered, as far as that goes."""
    from hermetic.cli.part import build_on, rebuild

    ended = rebuild(found, command, reporter, past)
    if ended is not None:
        return ended
    loaded = load(past.since)
    return build_on(found, command, reporter, past, loaded) or _whole(found, loaded, command, reporter, stdout)


def _whole(
    found: Session, loaded: Loaded, command: Sequence[str], reporter: TerminalReporter, stdout: TextIO | None
) -> Ended:
    result = found.execute(loaded.graph, reporter)
    if found.args.dry_run:
        from hermetic.cli.planning import say_plan

        say_plan(found, loaded, result, stdout)
        return Ended(result, len(loaded.graph.requested), errors=loaded.errors)
    try:
        ended = _published(found, loaded, result)
    except MissingBlob:  # a requested result was known, but is no longer all there
        again = _requested(loaded.graph) | incomplete(result, found.store)
        result = found.execute(loaded.graph, reporter, again)
        ended = _published(found, loaded, result)
    state = remember(found, loaded, command, result)
    if state:
        warm.keep(found, loaded, command, ended, state)
    return ended


def _requested(graph: ActionGraph) -> set[str]:
    """The actions whose outputs were asked for."""
    refs = (ref for name in graph.requested for _, ref in graph.targets[name].outputs)
    return {made.action for ref in refs if (made := made_in(ref))}


def _published(found: Session, loaded: Loaded, result: BuildResult) -> Ended:
    """Deeper places first, see ``publish``; the rows are in the order of the request."""
    graph = loaded.graph
    outcomes = {name: outcome_of(graph.targets[name], result) for name in graph.requested}
    made = made_by(result.finished.values())
    rows = {}
    for name in sorted(graph.requested, key=lambda one: -depth(graph.targets[one].label)):
        target = graph.targets[name]
        if outcomes[name] in GOOD and target.outputs:
            artifact = found.sources.resolve(target.outputs[0][1], made)
            rows[name] = show(found, target, artifact)
    ordered = tuple(rows[name] for name in graph.requested if name in rows)
    wanted = sum(bool(graph.targets[name].outputs) for name in graph.requested)
    return Ended(result, wanted, ordered, outcomes, loaded.errors)


def _keep_report(error: BaseException) -> None:
    from hermetic.cli.main import defect

    if isinstance(error, Exception):
        defect(error)
