"""Building a part: what changed since the last build of a command line, on what is remembered of the rest.

Guarantees: what is shown and remembered afterwards is what a build from nothing would show and remember.
None is returned when that cannot be said; then everything is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hermetic.action import Kind, TargetNode
from hermetic.cli import warm
from hermetic.cli.ended import Ended, outcome_of, show
from hermetic.cli.remember import remember_graph, remember_part
from hermetic.cli.session import Session
from hermetic.digest import Digest
from hermetic.execution.columns import Columns, Kept
from hermetic.execution.frontend import Loaded
from hermetic.execution.outcome import GOOD, BuildResult, Outcome, Reporter, made_by
from hermetic.execution.publish import depth
from hermetic.execution.snapshot import Shown
from hermetic.store.operation import Resolved
from hermetic.store.protocols import MissingBlob
from hermetic.store.sections import Damaged
from hermetic.store.witness import Moved, Witness


@dataclass(frozen=True)
class _Basis:
    """What is built on. ``columns``: the graph as it is now; ``sources``: numbers of those that changed;
    ``rows``: what was shown, by target, and ``in_place``: whether it still is, all of it; ``unshown``: numbers
    of requested targets that are shown anew whatever happens. ``record`` keeps the result in the history,
    None when it cannot; ``witness`` says what is as it was seen; ``front``: how many of its files decide what the
    actions are; ``memory``: the loader's."""

    columns: Columns
    sources: Sequence[int]
    rows: Mapping[str, Shown]
    in_place: bool
    unshown: Sequence[int]
    record: Callable[[BuildResult], str | None]
    witness: Callable[[], Witness]
    front: int
    memory: str


def rebuild(found: Session, command: Sequence[str], reporter: Reporter, past: warm.Past) -> Ended | None:
    """Build on the remembered graph: only contents of sources changed."""
    if not past.sources_only:
        return None
    snapshot, columns = past.snapshot, past.columns
    basis = _Basis(
        columns,
        past.sources,
        {row.id: row for row in snapshot.rows},
        snapshot.published,
        (),
        lambda result: remember_part(found, command, snapshot.state, columns.ids, result),
        lambda: snapshot.witness.renewed(warm.files_of(found, {}, sorted(past.changed)), found.states.digest),
        snapshot.front,
        snapshot.memory,
    )
    return _guarded(found, command, reporter, basis)


def build_on(
    found: Session, command: Sequence[str], reporter: Reporter, past: warm.Past, loaded: Loaded
) -> Ended | None:
    """Build a graph that was loaded anew: what is the same line as before is the same action."""
    if loaded.errors or past.changed & warm.own_files(found).keys():
        return None
    snapshot, graph = past.snapshot, loaded.graph
    front = warm.front_of(found, loaded)
    try:
        kept = Kept.of(past.columns, snapshot.witness.files)
        columns, paths = Columns.of(graph, list(front), kept)
    except (IndexError, ValueError):
        return None  # damaged columns
    rows = {row.id: row for row in snapshot.rows}
    before = set(past.columns.targets)

    def witness() -> Witness:
        """Of a source that no action was looked at for: what it was when the results were made, not what it is now."""
        same = {path: sha for path, sha in snapshot.witness.digests.items() if path not in past.changed}
        files = warm.files_of(found, {**same, **front}, paths)
        return snapshot.witness.continued(files, loaded.read_folders, found.states.digest)

    basis = _Basis(
        columns,
        [number for number, path in enumerate(paths) if path in past.changed],
        rows,
        # A target that is new or gone may take another's place, or leave it
        snapshot.published and set(past.columns.names[: past.columns.requested]) == set(graph.requested),
        [
            number
            for number, name in enumerate(graph.requested)
            if name not in rows or columns.targets[number] not in before
        ],
        lambda result: remember_graph(found, loaded, command, snapshot.state, columns, kept, result),
        witness,
        len(front),
        loaded.memory,
    )
    return _guarded(found, command, reporter, basis)


def _guarded(found: Session, command: Sequence[str], reporter: Reporter, basis: _Basis) -> Ended | None:
    try:
        return _built(found, command, reporter, basis)
    except (Damaged, OSError, MissingBlob):
        return None


def _built(found: Session, command: Sequence[str], reporter: Reporter, basis: _Basis) -> Ended | None:
    columns = basis.columns
    graph, earlier = columns.part(basis.sources, basis.unshown)
    result = found.execute(graph, reporter, earlier=earlier)
    if any(isinstance(one.error, MissingBlob) for one in result.failures):
        return None
    state = basis.record(result)
    if state is None:
        return None
    outcomes = {name: outcome_of(target, result) for name, target in graph.targets.items()}
    made = dict(earlier.known)
    made.update({(name, output): ref for name, refs in earlier.before.items() for output, ref in refs.items()})
    made.update(made_by(result.finished.values()))
    artifacts = {
        name: found.sources.resolve(target.outputs[0][1], made)
        for name, target in graph.targets.items()
        if target.outputs and outcomes[name] in GOOD
    }
    rows = _shown(found, basis, graph.targets, artifacts, outcomes)
    ended = Ended(result, _with_outputs(basis, graph.targets), rows, outcomes)
    if warm.certain(found, ended):
        with found.watch.spans.span("write snapshot"), suppress(Moved, OSError):
            witness, columns = basis.witness(), columns.updated(result.finished)
            warm.write(found, command, ended, witness, basis.front, columns, state, basis.memory)
    return ended


def _with_outputs(basis: _Basis, targets: Mapping[str, TargetNode]) -> int:
    """How many of the requested targets have something to show."""
    requested = basis.columns.names[: basis.columns.requested]
    return sum(bool(targets[name].outputs) if name in targets else name in basis.rows for name in requested)


def _shown(
    found: Session,
    basis: _Basis,
    targets: Mapping[str, TargetNode],
    artifacts: Mapping[str, Resolved],
    outcomes: Mapping[str, Outcome],
) -> tuple[Shown, ...]:
    """The rows of what was requested, in that order. Published is what is new, or everything when something is
    not in its place; deeper places first, see ``publish``."""
    rows: dict[str, Shown] = {}
    requested = basis.columns.names[: basis.columns.requested]
    good = [name for name in requested if outcomes.get(name, Outcome.HIT_LOCAL) in GOOD]
    named = {name: targets.get(name) or basis.rows[name] for name in good if name in targets or name in basis.rows}
    for name in sorted(named, key=lambda one: -depth(named[one].label)):
        old, one = basis.rows.get(name), named[name]
        artifact = artifacts.get(name) or (_artifact(old) if old else None)
        if artifact is None:
            continue  # it has nothing to show
        if old and basis.in_place and (old.layout, _artifact(old)) == (one.layout, artifact):
            rows[name] = old
        else:
            rows[name] = show(found, one, artifact)
    return tuple(rows[name] for name in requested if name in rows)


def _artifact(row: Shown) -> Resolved:
    return Resolved(Kind(row.kind), Digest(row.hash, row.size), row.executable)
