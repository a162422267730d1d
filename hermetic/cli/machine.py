"""What a build may use of this machine: --jobs, --local-cpu, --local-memory and [tool.hb.machine]."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.workspace import Workspace, check_name
from hermetic.errors import CommandLineError
from hermetic.execution.schedule import Budget
from hermetic.execution.schedule_ledger import Ledger
from hermetic.execution.schedule_machine import Machine, capacity
from hermetic.sizes import parse_size

if TYPE_CHECKING:
    from hermetic.cli.session import Session
    from hermetic.execution.outcome import BuildResult, Reporter

TABLE = ("cpu", "memory")
LEDGER = "usage.db"  # in the store


def jobs_of(args: argparse.Namespace, workspace: Workspace) -> int:
    asked = getattr(args, "jobs", None)
    return _number("--jobs", asked) or int(workspace.options["jobs"]) or cpus_of(args, workspace)


def cpus_of(args: argparse.Namespace, workspace: Workspace) -> int:
    return _number(*_said(args, workspace, "--local-cpu", "cpu")) or len(os.sched_getaffinity(0))


def memory_of(args: argparse.Namespace, workspace: Workspace) -> int:
    """Bytes; 0 when nothing is said."""
    where, text = _said(args, workspace, "--local-memory", "memory")
    if text in ("", "auto"):
        return 0
    size = parse_size(text)
    if not size:
        raise CommandLineError(f"{where} {text!r} is not an amount of memory", hint="write it like 512M or 12G")
    return size


def _said(args: argparse.Namespace, workspace: Workspace, option: str, name: str) -> tuple[str, str]:
    """Where a number is said, by an option or else in [tool.hb.machine], and its text."""
    asked = getattr(args, option.removeprefix("--").replace("-", "_"), None)
    return (option, asked) if asked else (f"[tool.hb.machine] {name}", str(workspace.options["machine"].get(name, "")))


def check(args: argparse.Namespace, workspace: Workspace) -> None:
    """Before anything is loaded. Raises CommandLineError or BuildFileError."""
    for name in workspace.options["machine"]:
        check_name("tool.hb.machine", name, TABLE, workspace.said)
    for number in (jobs_of, cpus_of, memory_of):
        number(args, workspace)


@contextmanager
def machine(found: Session) -> Iterator[Machine]:
    """The machine as this command may use it."""
    args, workspace = found.args, found.workspace
    enclosing, cap = list(found.groups.enclosing()), memory_of(args, workspace)
    said = getattr(args, "jobs", None) not in (None, "auto") or bool(workspace.options["jobs"])
    cpus = found.jobs if said and not getattr(args, "local_cpu", None) else cpus_of(args, workspace)
    made = Machine(
        Budget(cpus, capacity(enclosing, cap)),
        ledger=Ledger(found.store.root / LEDGER),
        fifos=found.scratch,
        enclosing=enclosing,
        cap=cap,
        spans=found.watch.spans,
    )
    try:
        yield made
    finally:
        made.close()
        found.groups.close()


def telling(args: argparse.Namespace, reporter: Reporter) -> tuple[Reporter, Callable[[BuildResult], None]]:
    """The reporter that also writes --events, and what to tell it at the end."""
    if not getattr(args, "events", None):
        return reporter, lambda _: None
    from hermetic.report.events import EventReporter

    told = EventReporter(reporter, Path(args.events))
    return told, told.end


def _number(option: str, text: str | int | None) -> int:
    """0 for what is not said."""
    if text in (None, "", "auto"):
        return 0
    if str(text).isascii() and str(text).isdecimal() and int(str(text)) > 0:
        return int(str(text))
    raise CommandLineError(f"{option} {text} is not a number", hint="say how many, or auto")
