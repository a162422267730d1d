"""Builds that start from the last one: what of a snapshot is still true, and only the rest is built.

Three ways, the quickest that applies: nothing changed (``answer``, before anything else is imported);
only contents of source files changed, and the actions that see them run on the remembered graph
(``rebuild``); else the BUILD files are loaded, and actions that are what they were, with inputs that
are what they were, are not looked at again (``still_true``). Whatever is doubtful is done anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
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
    from hermetic.action import ActionGraph
    from hermetic.cli.ended import Ended
    from hermetic.cli.session import Session
    from hermetic.execution.columns import Columns
    from hermetic.execution.executor import Earlier
    from hermetic.execution.frontend import Loaded, Since
    from hermetic.execution.outcome import Reporter
    from hermetic.execution.snapshot import Shown
    from hermetic.store.operation import Resolved

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
    path = next((folder / name for folder in (cwd, *cwd.parents) if (folder / name).exists()), None)
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
        return Since(self.snapshot.memory, self.changed - sources)

    @property
    def in_place(self) -> dict[str, Shown]:
        """What was shown and is still in its place, by target."""
        return {row.id: row for row in self.snapshot.rows} if self.snapshot.published else {}

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


def rebuild(found: Session, command: Sequence[str], reporter: Reporter, past: Past) -> Ended | None:
    """Build what changed, or None when that cannot be said without loading."""
    from hermetic.store.protocols import MissingBlob

    try:
        return _rebuilt(found, command, reporter, past) if past.sources_only else None
    except (Damaged, OSError, MissingBlob):
        return None


def still_true(found: Session, past: Past, graph: ActionGraph) -> Earlier | None:
    """What the past says of a graph that was loaded anew; nothing when hb itself has changed."""
    if past.changed & _own_files(found).keys():
        return None
    with suppress(Damaged):
        return past.columns.compared(graph, past.sources)
    return None


def _rebuilt(found: Session, command: Sequence[str], reporter: Reporter, past: Past) -> Ended | None:
    from hermetic.cli.ended import Ended, outcome_of
    from hermetic.cli.remember import remember_part
    from hermetic.execution.outcome import GOOD, made_by
    from hermetic.store.protocols import MissingBlob

    snapshot, columns = past.snapshot, past.columns
    graph, earlier = columns.part(past.sources)
    result = found.execute(graph, reporter, earlier=earlier)
    if any(isinstance(one.error, MissingBlob) for one in result.failures):
        return None
    state = remember_part(found, command, snapshot.state, columns.ids, result)
    if state is None:
        return None
    outcomes = {name: outcome_of(target, result) for name, target in graph.targets.items()}
    made = {
        **earlier.known,
        **{(name, output): ref for name, refs in earlier.before.items() for output, ref in refs.items()},
    }
    made.update(made_by(result.finished.values()))
    artifacts = {
        name: found.sources.resolve(target.outputs[0][1], made)
        for name, target in graph.targets.items()
        if outcomes[name] in GOOD
    }
    bad = {name for name in outcomes if outcomes[name] not in GOOD}
    rows = _shown_again(found, [row for row in snapshot.rows if row.id not in bad], artifacts, snapshot.published)
    ended = Ended(result, len(snapshot.rows), rows, outcomes)
    if _certain(found, ended):
        with found.watch.spans.span("write snapshot"), suppress(Moved, OSError):
            seen = {path: node.digest.hash for path, node in found.sources.seen.items()}
            witness = snapshot.witness.renewed(seen, found.states.digest)
            _write(
                found, command, ended, witness, snapshot.front, columns.updated(result.finished), state, snapshot.memory
            )
    return ended


def _shown_again(
    found: Session, rows: Sequence[Shown], artifacts: dict[str, Resolved], published: bool
) -> tuple[Shown, ...]:
    """The rows of a snapshot, those with new artifacts published; all when something is not in its place."""
    from hermetic.action import Kind
    from hermetic.cli.ended import show
    from hermetic.digest import Digest
    from hermetic.execution.publish import depth
    from hermetic.store.operation import Resolved

    new = {}
    for row in sorted(rows, key=lambda one: -depth(one.label)):
        old = Resolved(Kind(row.kind), Digest(row.hash, row.size), row.executable)
        artifact = artifacts.get(row.id, old)
        if artifact != old or not published:
            new[row.id] = show(found, row, artifact)
    return tuple(new.get(row.id, row) for row in rows)


def _certain(found: Session, ended: Ended) -> bool:
    """Whether all went well and every new result was found worth keeping: a success that the sandbox has
    doubts about is no hit, and no snapshot may make it one."""
    from hermetic.execution.outcome import Outcome

    ran = (Outcome.BUILT, Outcome.EVICTED)
    return ended.good and all(
        one.outcome not in ran or found.store.has_result(one.stored) for one in ended.result.finished.values()
    )


def keep(found: Session, loaded: Loaded, command: Sequence[str], ended: Ended, state: str) -> None:
    """Remember a build that went well. ``state``: what the history calls its graph."""
    if _unremembered(command) or not _certain(found, ended):
        return
    with found.watch.spans.span("write snapshot"):
        _keep(found, loaded, command, ended, state)


def _keep(found: Session, loaded: Loaded, command: Sequence[str], ended: Ended, state: str) -> None:
    from hermetic.execution.columns import Columns, shown_sources, sources_of

    finished = {name: ended.result.finished[name] for name in sorted(ended.result.finished)}
    own = {path: found.states.digest(place).hash if place.exists() else "" for path, place in _own_files(found).items()}
    front = {**loaded.read_files, **own}
    sources = {path for done in finished.values() for path in sources_of(done.action)}
    sources |= {path for name in loaded.graph.requested for path in shown_sources(loaded.graph.targets[name])}
    with suppress(Moved, OSError):
        files = {**front, **{path: _now(found, path) for path in sorted(sources - front.keys())}}
        columns = Columns.of(loaded.graph, finished, list(files))
        witness = Witness.take(found.workspace.root, files, loaded.read_folders, found.states.digest)
        _write(found, command, ended, witness, len(front), columns, state, loaded.memory)


def _now(found: Session, path: str) -> str:
    """What the build saw of a file; of a link that was taken as a link, what is behind it now."""
    seen = found.sources.seen.get(path)
    if seen is not None:
        return seen.digest.hash
    try:
        return found.states.digest(found.workspace.root / path).hash
    except OSError:
        return ""


def _own_files(found: Session) -> dict[str, Path]:
    """What else decides, by name: hb's own code, and every pyproject.toml that is or could be the workspace's."""
    import hermetic

    root, cwd = found.workspace.root, Path.cwd()
    names = [folder / "pyproject.toml" for folder in (cwd, *cwd.parents) if folder.is_relative_to(root)]
    names += sorted(Path(hermetic.__file__).parent.rglob("*.py"))
    return {str(path.relative_to(root) if path.is_relative_to(root) else path): path for path in names}


def _write(
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
