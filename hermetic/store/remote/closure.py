"""What a result needs to be whole: its blobs, and the messages that stand for its trees.

``named`` and ``Closure.trees`` are the order in which an entry says which pack each blob is in.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from hermetic import tree
from hermetic.digest import Digest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.remote import entry


@dataclass
class Closure:
    """``result``: with the digests of tree messages; ``blobs``: everything it takes, in order; ``made``: the
    tree messages, which are in no store; ``trees``: the files of each output directory, as a walk meets them;
    ``inline``: what travels with the result."""

    result: pb.ActionResult
    disk: DiskStore
    blobs: dict[Digest, None] = field(default_factory=dict)
    made: dict[Digest, bytes] = field(default_factory=dict)
    trees: list[list[Digest]] = field(default_factory=list)
    inline: dict[Digest, bytes] = field(default_factory=dict)

    @staticmethod
    def of(result: pb.ActionResult, disk: DiskStore, read: Callable[[Digest], bytes]) -> Closure:
        """``read``: of directories, which may have to come from the remote. Raises MissingBlob."""
        found = Closure(pb.ActionResult(), disk)
        found.result.CopyFrom(result)
        for one in found.result.output_directories:
            root = Digest(one.root_directory_digest.hash, one.root_directory_digest.size_bytes)
            message = tree.tree_message(root, read)
            digest = Digest.of(message)
            found.made[digest] = message
            found.blobs[digest] = None
            one.tree_digest.hash, one.tree_digest.size_bytes = digest.hash, digest.size
            files = [node.digest for _, node in tree.walk(root, read) if isinstance(node, tree.File)]
            found.trees.append(files)
            found.blobs.update(dict.fromkeys(files))
        found.blobs.update(dict.fromkeys(named(found.result)))
        found._choose_inline()
        return found

    def _choose_inline(self) -> None:
        """Trees first, they are always wanted; then what is small, while there is room."""
        room = entry.INLINE_TOTAL
        for digest in (*self.made, *self.blobs):
            limit = entry.INLINE_TREE if digest in self.made else entry.INLINE
            if digest.size <= min(limit, room) and digest not in self.inline and self.here(digest):
                self.inline[digest] = self.content(digest)
                room -= digest.size

    def here(self, digest: Digest) -> bool:
        return digest in self.made or self.disk.has(digest)

    def content(self, digest: Digest) -> bytes:
        return self.made[digest] if digest in self.made else self.disk.read(digest)

    def stream(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.made[digest]) if digest in self.made else self.disk.open(digest)


def named(result: pb.ActionResult) -> list[Digest]:
    """The blobs that a result names itself: files, logs, and the messages of its trees."""
    logs = [one for one in (result.stdout_digest, result.stderr_digest) if one.hash]
    trees = [one.tree_digest for one in result.output_directories]
    found = [*(file.digest for file in result.output_files), *logs, *trees]
    return [Digest(one.hash, one.size_bytes) for one in found]
