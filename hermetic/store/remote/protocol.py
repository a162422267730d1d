"""What hb asks of a remote cache, and how it may fail.

A remote moves bytes and nothing more: results are opaque to it, blobs have names. It is not trusted.
Whoever calls checks signatures and digests, so a remote can lose things or refuse, never lie.

Zones separate writers that do not trust each other: a result written in one zone is not found in
another. S3 and HTTP keep blobs apart too, because they do not check a name against its content.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from hermetic.digest import Digest
from hermetic.errors import StoreError

if TYPE_CHECKING:
    from hermetic.store.remote.bucket import Bucket

MAIN = "main"  # the zone of trusted writers
RESULT_LIMIT = 64 << 20  # bytes of a result; an honest one is far smaller

Opener: TypeAlias = Callable[[], BinaryIO]


class RemoteError(StoreError):
    """The remote did not do what was asked: unreachable, refused, broken. ``fatal``: asking again is
    useless (wrong credentials, no such bucket)."""

    def __init__(self, message: str, *, hint: str | None = None, fatal: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.fatal = fatal


@dataclass
class Traffic:
    """What went over the wire. Counted by the remotes, one request per call that reaches the network."""

    requests: int = 0
    received: int = 0
    sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, *, received: int = 0, sent: int = 0, requests: int = 1) -> None:
        with self._lock:
            self.requests += requests
            self.received += received
            self.sent += sent


class Sink(Protocol):
    """Where content is written to."""

    def write(self, data: bytes, /) -> int: ...


class Remote(Protocol):
    """A remote cache. Thread-safe. Every method may raise RemoteError. Nothing is contacted before the
    first call of a method.

    ``batch``: bytes of small blobs that travel in one request; 0 when the remote has no such request,
    and small blobs are better stored in packs. ``bucket``: where leases are kept, for a remote that does not
    look itself after what its results need; None for others.
    """

    @property
    def name(self) -> str: ...
    @property
    def traffic(self) -> Traffic: ...
    @property
    def batch(self) -> int: ...
    @property
    def bucket(self) -> Bucket | None: ...

    def get_result(self, key: Digest, zone: str) -> bytes | None: ...

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        """Store a result unless the key has one. Returns what was there instead, or None when stored."""
        ...

    def put_aside(self, key: Digest, zone: str, data: bytes) -> str:
        """Keep a result that lost its place to another one; returns where it is."""
        ...

    def get_blob(self, digest: Digest, zone: str, sink: Sink) -> bool:
        """Write a blob's content, unchecked, to ``sink``; False when it is not there."""
        ...

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:
        """Several small blobs, unchecked; those that are not there are left out. For ``batch`` > 0."""
        ...

    def put_blob(self, digest: Digest, zone: str, content: Opener) -> None: ...

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:
        """Several small blobs. For ``batch`` > 0."""
        ...

    def find_missing(self, digests: Iterable[Digest], zone: str) -> set[Digest]:
        """Which of these blobs the remote does not have."""
        ...

    def close(self) -> None: ...
