"""The end of a build that had nothing to do: its lines, its place in the history, its exit code."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hermetic.cli.results import print_rows, print_summary
from hermetic.cli.streams import say
from hermetic.execution.snapshot import Snapshot
from hermetic.report.summary import summary_line, tests_line


def report(snapshot: Snapshot, command: Sequence[str], started: float) -> int:
    """``started``: by the monotonic clock."""
    outcomes = {"hit-local": snapshot.actions} if snapshot.actions else {}
    build_id, wall = new_build_id(), time.monotonic() - started
    _remember(snapshot, command, build_id, outcomes, wall)
    say(summary_line("done", outcomes, wall))
    as_json = "--json" in command
    print_rows((row.line("hit-local") for row in snapshot.rows), as_json)
    if as_json:
        print_summary(build_id, wall, snapshot.actions, outcomes)
    if command[0] == "test":
        say(tests_line(len(snapshot.rows), True))
    return 0


def new_build_id() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{os.getpid()}"


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
