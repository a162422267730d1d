"""Builds that start from the last one: what of a snapshot is still true, and only the rest is built.

Three ways, the quickest that applies: nothing changed (``answer``, before anything else is imported);
only contents of source files changed, and the actions that see them run on the remembered graph; else the
BUILD files are loaded, and only actions that are not what they were are looked at, with what depends on them
(both in ``hermetic.cli.part``). Whatever is doubtful is done anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.asked import asked
from hermetic.cli.watch import unwatched
from hermetic.execution.snapshot import Snapshot, magic, published_places, snapshot_path
from hermetic.execution.snapshot import identities as identities_of
from hermetic.store.sections import Damaged, Sections
from hermetic.store.witness import Moved, Witness

if TYPE_CHECKING:
    from hermetic.cli.ended import Ended
    from hermetic.cli.session import Session
    from hermetic.execution.columns import Columns
    from hermetic.execution.frontend import Loaded, Since

UNREMEMBERED = frozenset({"--dry-run", "-n", "--sandbox-debug", "--help", "-h"})


def _unremembered(command: Sequence[str]) -> bool:
    return not UNREMEMBERED.isdisjoint(word.partition("=")[0] for word in command)


def answer(command: Sequence[str]) -> int | None:
    """The exit code when nothing has changed since this very command last ended well here, else None."""
    started = time.monotonic()
    command, files = unwatched(command)
    if _unremembered(command) or asked(command) or "" in files.values():
        return None
    cwd = Path.cwd()
    name = snapshot_path(Path(".hb"), command, str(cwd), os.environ)
    path = next((folder / name for folder in (cwd, *cwd.parents) if os.path.exists(folder / name)), None)
    if path is None:
        return None
    try:
        with Sections(path, magic()) as sections:
            snapshot = Snapshot.read(sections)
    except (Damaged, OSError):
        return None
    read = time.monotonic()
    if not snapshot.null:
        return None
    from hermetic.cli.null import Null, report

    return report(Null(snapshot, command, files, started, read))


@dataclass(frozen=True)
class Past:
    """The last build of a command line, and the files and folders that have changed since."""

    snapshot: Snapshot
    columns: Columns
    changed: frozenset[str]

    @property
    def since(self) -> Since:
        """What the loader may remember, and what of it may no longer be true."""
        from hermetic.execution.frontend import Since

        decides = frozenset(self.snapshot.witness.files[: self.snapshot.front])
        sources = frozenset(self.snapshot.witness.files) - decides
        return Since(self.snapshot.memory, self.changed - sources, self.columns.known)

    @cached_property
    def sources(self) -> list[int]:
        """Numbers of the changed files."""
        return [number for number, path in enumerate(self.snapshot.witness.files) if path in self.changed]

    @property
    def sources_only(self) -> bool:
        """Whether nothing changed that decides what the actions are."""
        numbers = self.sources
        return len(numbers) == len(self.changed) and min(numbers, default=self.snapshot.front) >= self.snapshot.front


def recall(found: Session, command: Sequence[str]) -> Past | None:
    """What is remembered of the last build of this command line."""
    from hermetic.execution.columns import Columns

    if _unremembered(command):
        return None
    spans, place = found.watch.spans, _place(found, command)
    if not place.exists():
        return None
    try:
        with spans.span("read snapshot"), Sections(place, magic()) as sections:
            snapshot, columns = Snapshot.read(sections), Columns.read(sections)
        with spans.span("compare files", files=len(snapshot.witness.files)) as span:
            changed = frozenset(snapshot.witness.changed(found.states.digest))
            span.say(changed=len(changed))
        return Past(snapshot, columns, changed)
    except (Damaged, OSError):
        return None


def certain(found: Session, ended: Ended) -> bool:
    """Whether all went well and every new result was found worth keeping: a success that the sandbox has
    doubts about is no hit, and no snapshot may make it one."""
    from hermetic.execution.outcome import Outcome

    ran = (Outcome.BUILT, Outcome.EVICTED)
    return ended.good and all(
        one.outcome not in ran or found.store.has_result(one.stored) for one in ended.result.finished.values()
    )


def keep(found: Session, loaded: Loaded, command: Sequence[str], ended: Ended, state: str) -> None:
    """Remember a build that went well. ``state``: what the history calls its graph."""
    if _unremembered(command) or not certain(found, ended):
        return
    with found.watch.spans.span("write snapshot"):
        _keep(found, loaded, command, ended, state)


def _keep(found: Session, loaded: Loaded, command: Sequence[str], ended: Ended, state: str) -> None:
    from hermetic.execution.columns import Columns

    front = front_of(found, loaded)
    with suppress(Moved, OSError):
        columns, paths = Columns.of(loaded.graph, list(front))
        files = files_of(found, front, paths)
        witness = Witness.take(found.workspace.root, files, loaded.read_folders, found.states.digest)
        write(found, command, ended, witness, len(front), columns.updated(ended.result.finished), state, loaded.memory)


def front_of(found: Session, loaded: Loaded) -> dict[str, str]:
    """SHA-256 of every file that decides what the actions are, in a fixed order."""
    return dict(sorted({**loaded.read_files, **digests_of(found, own_files(found))}.items()))


def files_of(found: Session, front: Mapping[str, str], paths: Sequence[str]) -> dict[str, str]:
    """SHA-256 of what was seen of the files a build depends on. ``front``: those that are known already."""
    return {path: front[path] if path in front else _now(found, path) for path in paths}


def _now(found: Session, path: str) -> str:
    """What the build saw of a file; of a link that was taken as a link, what is behind it now."""
    seen = found.sources.seen.get(path)
    if seen is not None:
        return seen.digest.hash
    try:
        return found.states.digest(found.workspace.root / path).hash
    except OSError:
        return ""


def own_files(found: Session) -> dict[str, Path]:
    """What else decides, by name: hb's own code, and every pyproject.toml that is or could be the workspace's."""
    import hermetic

    root, cwd = found.workspace.root, Path.cwd()
    names = [folder / "pyproject.toml" for folder in (cwd, *cwd.parents) if folder.is_relative_to(root)]
    names += sorted(Path(hermetic.__file__).parent.rglob("*.py"))
    return {str(path.relative_to(root) if path.is_relative_to(root) else path): path for path in names}


def digests_of(found: Session, files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 by name, "" for what is not there."""
    return {name: found.states.digest(place).hash if place.exists() else "" for name, place in files.items()}


def write(
    found: Session,
    command: Sequence[str],
    ended: Ended,
    witness: Witness,
    front: int,
    columns: Columns,
    state: str,
    memory: str,
) -> None:
    places = published_places(ended.rows)
    snapshot = Snapshot(
        witness,
        front,
        len(columns.ids),
        str(found.store.root),
        state,
        memory,
        tuple(ended.rows),
        places,
        identities_of(places),
    )
    snapshot.write(_place(found, command), columns.sections())


def _place(found: Session, command: Sequence[str]) -> Path:
    return snapshot_path(found.state, unwatched(command)[0], str(Path.cwd()), os.environ)
