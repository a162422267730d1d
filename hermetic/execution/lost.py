"""Which results are not all there any more."""

from __future__ import annotations

from hermetic import tree
from hermetic.action import Kind
from hermetic.execution.outcome import BuildResult
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore, MissingBlob


def whole(resolved: Resolved, store: BlobStore) -> bool:
    """Whether every blob of an artifact is in the store, or promised to it."""
    if not store.has(resolved.digest):
        return False
    if resolved.kind is Kind.BLOB:
        return True
    try:
        nodes = tree.walk(resolved.digest, store.read)
        return not store.missing(node.digest for _, node in nodes if isinstance(node, tree.File))
    except MissingBlob:
        return False


def incomplete(result: BuildResult, store: BlobStore) -> set[str]:
    """The actions of a build whose outputs lack something. A layer is a recipe: what it lacks is missing in
    the tree it is made of, which is the output of another action."""
    found = result.finished.values()
    return {one.action.id for one in found if not all(whole(ref, store) for ref in one.outputs.values())}
