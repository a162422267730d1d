"""What the rest of hb needs of a store. Implementations: disk (here), memory (tests), remotes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from hermetic.digest import Digest
from hermetic.errors import StoreError
from hermetic.proto import reapi_pb2 as pb


class MissingBlob(StoreError):
    """A blob is not in the store (or was torn and has been dropped)."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest} is not in the store")
        self.digest = digest


class BlobStore(Protocol):
    """Content-addressed storage. Thread-safe. Everything read has been verified once."""

    def read(self, digest: Digest) -> bytes:
        """The bytes; raises MissingBlob."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """A readable stream; raises MissingBlob."""
        ...

    def has(self, digest: Digest) -> bool: ...

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those of ``digests`` that are absent, each once, in order."""
        ...

    def find_sha256(self, sha256: str) -> Digest | None:
        """The blob with this hash, whatever its size, or None."""
        ...

    def put(self, data: bytes) -> Digest: ...

    def put_stream(self, stream: BinaryIO, expect: Digest | None = None) -> Digest:
        """Store what ``stream`` yields; with ``expect`` a different digest is a StoreError."""
        ...

    def put_file(self, path: Path, *, take: bool = False) -> Digest:
        """Store a file's content; ``take`` lets the store keep the inode (rename or link) when it
        is sure nobody else writes to it."""
        ...

    def want_tree(self, root: Digest) -> None:
        """A tree is about to be read as a whole: bring together what is not here yet."""
        ...

    def path(self, digest: Digest, *, executable: bool = False) -> Path:
        """A read-only path with the content (mode 0444, or 0555 for the executable twin)."""
        ...


class ActionCache(Protocol):
    """Action key → ActionResult. ``put_result`` is called last, after every blob it names is stored."""

    def get(self, key: Digest) -> pb.ActionResult | None: ...
    def put_result(self, key: Digest, result: pb.ActionResult) -> None: ...

    def was_evicted(self, key: Digest) -> bool:
        """Whether a result was removed to make room. Says so once: the caller has made it again."""
        ...


class Stage(Protocol):
    """Trees made real on disk, once, shared by everyone, read-only."""

    def tree(self, root: Digest) -> Path:
        """A directory with the tree's content: hard links to the CAS, directories 0755, files
        0444/0555, every mtime SOURCE_DATE_EPOCH. Owners, special modes and xattrs are not on
        disk: they are the tree's data. Raises MissingBlob."""
        ...
