"""What build and test share: run, publish, print, choose the exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TextIO

from hermetic.action import ActionGraph, TargetNode
from hermetic.analysis.codec import made_in
from hermetic.cli.remember import remember
from hermetic.cli.session import Session
from hermetic.cli.streams import say
from hermetic.errors import InternalError
from hermetic.execution.frontend import Loaded
from hermetic.execution.outcome import GOOD, BuildResult, Outcome
from hermetic.execution.publish import depth, publish
from hermetic.report.terminal import TerminalReporter
from hermetic.store.operation import Resolved
from hermetic.store.protocols import MissingBlob


def build(found: Session, loaded: Loaded, command: Sequence[str], stdout: TextIO | None = None) -> int:
    """Build what was loaded; returns the exit code. ``stdout``: where the lines of results go."""
    reporter = TerminalReporter()
    result = found.execute(loaded, reporter)
    lines: list[dict[str, str]] = []
    if not found.args.dry_run:
        try:
            lines = _published(found, loaded.graph, result)
        except MissingBlob:  # a requested result was known, but is no longer all there
            result = found.execute(loaded, reporter, _requested(loaded.graph))
            lines = _published(found, loaded.graph, result)
    if not found.args.dry_run:
        remember(found, loaded, command, result)
    for done in result.failures:
        if isinstance(done.error, InternalError) and done.error.__cause__ is not None:
            _keep_report(done.error.__cause__)
    for error in loaded.errors:
        say(f"hb: {error}")
    if found.args.dry_run:
        _print_plan(result)
    reporter.end(result)
    _print(lines, result, found.args.json, stdout)
    return exit_code(loaded, result)


def exit_code(loaded: Loaded, result: BuildResult) -> int:
    """As Bazel: the worst of what happened, tests failing only when nothing else did."""
    if result.interrupted:
        return 8
    codes = [one.error.exit_code for one in result.failures if one.error is not None]
    codes += [error.exit_code for error in loaded.errors]
    others = [code for code in codes if code != 3]
    return (37 if 37 in others else others[0]) if others else 3 if codes else 0


def outcome_of(target: TargetNode, result: BuildResult) -> Outcome:
    """A target's outcome: that of the action making its first output; a source is always there."""
    first = made_in(target.outputs[0][1]) if target.outputs else None
    done = result.finished.get(first.action) if first else None
    return done.outcome if done else Outcome.HIT_LOCAL


def _requested(graph: ActionGraph) -> set[str]:
    """The actions whose outputs were asked for."""
    refs = (ref for name in graph.requested for _, ref in graph.targets[name].outputs)
    return {made.action for ref in refs if (made := made_in(ref))}


def _published(found: Session, graph: ActionGraph, result: BuildResult) -> list[dict[str, str]]:
    """Deeper places first, see ``publish``; the rows are in the order of the request."""
    rows = {}
    sources = found.runner().sources
    made = {(one.action.id, name): ref for one in result.finished.values() for name, ref in one.outputs.items()}
    for target_id in sorted(graph.requested, key=lambda one: -depth(graph.targets[one])):
        target = graph.targets[target_id]
        outcome = outcome_of(target, result)
        if outcome not in GOOD or not target.outputs:
            continue
        resolved: Resolved = sources.resolve(target.outputs[0][1], made)
        digest, path = publish(target, resolved, found.out, found.store, found.stage, found.derived)
        rows[target_id] = {"label": target.label, "digest": digest, "path": str(path), "outcome": outcome.value}
    return [rows[one] for one in graph.requested if one in rows]


def _print(rows: Sequence[dict[str, str]], result: BuildResult, as_json: bool, stdout: TextIO | None) -> None:
    for row in rows:
        print(json.dumps(row) if as_json else f"{row['label']}\t{row['digest']}\t{row['path']}", file=stdout)
    if as_json:
        summary = {
            "build_id": result.build_id,
            "wall_s": round(result.wall, 3),
            "actions": len(result.finished),
            "outcomes": result.counts(),
        }
        print(json.dumps({"summary": summary}), file=stdout)


def _print_plan(result: BuildResult) -> None:
    for done in sorted(result.finished.values(), key=lambda one: one.action.id):
        if done.outcome is Outcome.SKIPPED:
            when = "would run" if done.key else "unknown until its inputs are built"
            say(f"{when:34}  {done.action.label} {done.action.mnemonic}")


def _keep_report(error: BaseException) -> None:
    from hermetic.cli.main import defect

    if isinstance(error, Exception):
        defect(error)
