"""The end of a build that had nothing to do: its lines, its place in the history, its exit code."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.results import print_rows, print_summary
from hermetic.cli.streams import say
from hermetic.cli.watch import collected, epoch, tell
from hermetic.execution.snapshot import Snapshot
from hermetic.report.summary import summary_line, tests_line
from hermetic.spans import Span, Value

if TYPE_CHECKING:
    from hermetic.report.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Null:
    """``command``: without the options that watch, which are in ``watching``, with their files. By the
    monotonic clock, ``started`` is when the command began and ``read`` when it had its snapshot."""

    snapshot: Snapshot
    command: Sequence[str]
    watching: Mapping[str, str]
    started: float
    read: float


def report(null: Null) -> int:
    snapshot, command, compared = null.snapshot, null.command, time.monotonic()
    outcomes = {"hit-local": snapshot.actions} if snapshot.actions else {}
    build_id, wall = new_build_id(), compared - null.started
    _remember(snapshot, command, build_id, outcomes, wall)
    say(summary_line("done", outcomes, wall))
    as_json = "--json" in command
    print_rows((row.line("hit-local") for row in snapshot.rows), as_json)
    if as_json:
        print_summary(build_id, wall, snapshot.actions, outcomes)
    if command[0] == "test":
        say(tests_line(len(snapshot.rows), True))
    if "--events" in null.watching:
        _events(null, build_id, wall)
    profile, collect = null.watching.get("--profile", ""), collected(os.environ)
    if profile or collect:
        tell(_timeline(null, build_id, compared), profile, collect)
    return 0


def new_build_id() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{os.getpid()}"


def _events(null: Null, build_id: str, wall: float) -> None:
    from hermetic.execution.outcome import BuildResult, Silent
    from hermetic.report.events import EventReporter

    class Noting(Silent):
        def note(self, text: str) -> None:
            say(text)

    told = EventReporter(Noting(), Path(null.watching["--events"]))
    told.planned(0)
    told.end(BuildResult(build_id, {}, wall, unchanged=null.snapshot.actions))


def _timeline(null: Null, build_id: str, compared: float) -> Timeline:
    from hermetic.report.timeline import Timeline

    now = time.monotonic()
    labels = tuple(word for word in null.command if word.startswith(("//", "-//", ":", "-:")))
    actions = null.snapshot.actions
    said: dict[str, Value] = {"verb": null.command[0], "patterns": labels, "build_id": build_id}
    said |= {"actions": actions, "hit_local": actions}
    parts = (("read snapshot", null.started, null.read), ("compare files", null.read, compared), ("end", compared, now))
    inner = [Span(n, 1, name, "hb", False, since, until, {}) for n, (name, since, until) in enumerate(parts, start=2)]
    return Timeline(
        null.started, epoch(null.started), [Span(1, 0, "build", "hb", True, null.started, now, said), *inner]
    )


def _remember(snapshot: Snapshot, command: Sequence[str], build_id: str, outcomes: dict[str, int], wall: float) -> None:
    from hermetic.execution.history import Head, History

    head = Head(
        id=build_id,
        time=round(time.time() - wall, 3),
        workspace=snapshot.witness.root,
        command=tuple(command),
        wall=round(wall, 3),
        outcomes=outcomes,
    )
    with suppress(OSError):
        History(Path(snapshot.store) / "builds").add_unchanged(head, snapshot.state)
