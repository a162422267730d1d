"""Keeping a build in the history, at its end. A history that cannot be written never fails a build."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hermetic
from hermetic.cli.streams import say
from hermetic.errors import HbError
from hermetic.execution.history import DamagedRecord, Head, History

if TYPE_CHECKING:
    from hermetic.cli.session import Session
    from hermetic.execution.columns import Columns, Kept
    from hermetic.execution.frontend import Loaded
    from hermetic.execution.outcome import BuildResult
    from hermetic.execution.records import Record


def history_of(store: Path) -> History:
    return History(store / "builds")


def remember(found: Session, loaded: Loaded, command: Sequence[str], result: BuildResult) -> str:
    """For hb log, hb why and hb diff. Returns what the history calls the build's state, "" without one."""
    from hermetic.execution.recording import record_of

    files = files_read(loaded, found.workspace.root)
    return _keep(found, command, result, record_of(loaded.graph, result.finished, files))


def remember_part(
    found: Session, command: Sequence[str], state: str, ids: Sequence[str], result: BuildResult
) -> str | None:
    """The same for a build of which only a part was looked at. ``state``: before it; ``ids``: the actions
    behind its steps. None when that state is gone."""
    from hermetic.execution.recording import record_of_part

    try:
        before = history_of(found.store.root).state(Head("", 0, "", (), 0, state=state))
    except DamagedRecord:
        return None
    return _keep(found, command, result, record_of_part(before, ids, result.finished))


def remember_graph(
    found: Session,
    loaded: Loaded,
    command: Sequence[str],
    state: str,
    columns: Columns,
    kept: Kept,
    result: BuildResult,
) -> str | None:
    """The same for a build of a graph of which only a part was looked at. ``state``: before it, of the build
    with the columns ``kept``."""
    from hermetic.execution.recording import record_of_graph

    try:
        before = history_of(found.store.root).state(Head("", 0, "", (), 0, state=state))
    except DamagedRecord:
        return None
    files = files_read(loaded, found.workspace.root)
    record = record_of_graph(loaded.graph, columns, result.finished, files, before, kept)
    return _keep(found, command, result, record)


def _keep(found: Session, command: Sequence[str], result: BuildResult, record: Record) -> str:
    head = Head(
        id=result.build_id,
        time=round(time.time() - result.wall, 3),
        workspace=str(found.workspace.root),
        command=tuple(command),
        wall=round(result.wall, 3),
        outcomes=result.counts(),
        interrupted=result.interrupted,
    )
    try:
        with found.watch.spans.span("write history"):
            return history_of(found.store.root).add(head, record).state
    except (OSError, HbError) as error:
        say(f"hb: hb log and hb why will not know this build: {error}")
        return ""


def files_read(loaded: Loaded, workspace: Path) -> dict[str, str]:
    """Path → SHA-256 of everything that decided what the actions say: what loading read, and the rules."""
    return {**rule_files(workspace), **{path: sha for path, sha in loaded.read_files.items() if sha}}


def rule_files(workspace: Path) -> Mapping[str, str]:
    """The files of ``rules/`` and ``toolchains/`` that loading imports. A workspace without them uses
    those that came with hb."""
    found = {}
    shipped = Path(hermetic.__file__).resolve().parent.parent
    for name in ("rules", "toolchains"):
        top = next((one for one in (workspace, shipped) if (one / name / "__init__.py").is_file()), None)
        for path in (top / name).rglob("*") if top else ():
            if "__pycache__" not in path.parts and "locks" not in path.parts and path.is_file():
                found[path.relative_to(top).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()  # type: ignore[arg-type]
    return found
