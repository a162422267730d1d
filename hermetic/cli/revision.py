"""Trees of files keyed without building: the working tree, and a git revision beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from hermetic.audit.affected import Tree
from hermetic.audit.past import Past
from hermetic.audit.revision import check_out
from hermetic.cli import workspace
from hermetic.cli.planning import pseudo_record, view_of
from hermetic.cli.session import Session
from hermetic.errors import HbError
from hermetic.execution.frontend import Loaded
from hermetic.execution.outcome import Silent
from hermetic.execution.sources import Sources
from hermetic.execution.symbolic import with_symbols
from hermetic.store.filestate import FileStates


def keyed_tree(found: Session, loaded: Loaded, name: str, past: Past) -> Tree:
    """A loaded tree of files, every action with its key or a symbol. The session's options say dry_run."""
    result = found.execute(loaded.graph, Silent())
    finished = with_symbols(loaded.graph, result.finished, found.sources, found.store)
    record = pseudo_record(found, loaded, finished)
    return Tree(name, loaded.graph, finished, found.sources, view_of(record, past))


@contextmanager
def at_revision(found: Session, revision: str) -> Iterator[Session]:
    """A session like ``found`` whose workspace is what it was at a revision, in a scratch folder."""
    folder = check_out(found.workspace.root, revision, found.scratch)
    there = workspace.find(folder, found.args.config, found.args.set)
    states = FileStates(found.scratch / "revision-files.db")
    try:
        sources = Sources(there.root, found.store, states)
        place = replace(there, package=found.workspace.package)
        yield replace(found, workspace=place, states=states, sources=sources)
    finally:
        states.close()


def load_at(earlier: Session, patterns: Sequence[str], tests_only: bool = False) -> Loaded:
    """What the patterns named then; when one of them named nothing, everything there was."""
    try:
        return earlier.load(patterns, tests_only=tests_only, keep_going=True)
    except HbError:
        return earlier.load(["//..."], tests_only=tests_only, keep_going=True)
