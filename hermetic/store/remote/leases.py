"""The leases of one build: it says that it writes, reads what is condemned, and says at its end what it used.

Guarantees: no result is written that stands on a blob which a collector may delete; a collector keeps what a
build used for as long as it was told to. A bucket is asked three requests more by a build that writes, one by
a build that only reads and has used something it has not named during the last day. Other remotes look after
what they hold themselves; nothing is asked of them.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress

from hermetic.digest import Digest
from hermetic.store.remote import ledger
from hermetic.store.remote.bucket import Bucket
from hermetic.store.remote.guard import Guard
from hermetic.store.remote.known import ALONE, Known
from hermetic.store.remote.ledger import Name
from hermetic.store.remote.protocol import Remote, RemoteError

USED = "lease:"  # before a zone: among the hints, what was named in a lease


class Condemned(RemoteError):
    """A result needs blobs that a collector is about to delete; it can be written when they are gone."""


class Leases:
    def __init__(self, guard: Guard[Remote], known: Known, zone: str, clocks: ledger.Clocks | None = None) -> None:
        self._guard = guard
        self._known = known
        self._zone = zone
        self._clocks = clocks or ledger.clocks
        self._lock = threading.Lock()
        self._id = uuid.uuid4().hex
        self._began: tuple[float, ...] = ()
        self._forbidden: set[Name] = set()
        self._there: dict[Name, bool] = {}

    @property
    def needed(self) -> bool:
        """Whether the remote leaves it to its users to say what is alive."""
        return self._guard.remote.bucket is not None

    # --- writing ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Before anything is written. Raises RemoteError when the lease cannot be had."""
        with self._lock:
            if not self.needed:
                return
            if not self._began:
                now = self._clocks()  # before the server's clock says when it began
                self._forbidden = self._guard.ask(lambda remote: self._open(_bucket(remote.bucket)))
                self._began = now

    def _open(self, bucket: Bucket) -> set[Name]:
        """Say that we write, then read what is condemned: who condemns later waits for us."""
        bucket.create(bucket.place(f"leases/{self._zone}/{self._id}/open"), b"")
        found: set[Name] = set()
        for one in ledger.sentences(bucket):
            if one.pending:
                found |= one.blobs(bucket)
            elif one.swept:
                self._known.collected(one.id)
        return found

    def check(self, names: Iterable[Name]) -> None:
        """Raises Condemned when a result stands on something that is about to be deleted, RemoteError when this
        build has taken so long that nobody waits for it any more."""
        if ledger.lasted(self._began, self._clocks()):
            raise RemoteError("a build that takes so long writes no more results: its lease has run out")
        if self._forbidden.intersection(names):
            raise Condemned("a result waits until old blobs of it are collected")

    def there(self, digest: Digest, zone: str) -> bool:
        """Whether the bucket has a blob. It is asked once in a build."""
        name = zone, digest.hash
        if self.needed and name not in self._there:
            self._there[name] = not self._guard.ask(lambda remote: remote.find_missing([digest], zone))
        return self._there.get(name, True)

    # --- the end ----------------------------------------------------------------------------------

    def end(self, used: Mapping[Digest, str]) -> None:
        """Nothing more is written. ``used``: results, and the zones they are in. A failure costs a lease only."""
        by_zone: dict[str, list[Digest]] = {}
        for key, zone in used.items():
            by_zone.setdefault(zone, []).append(key)
        new: list[Name] = []
        for zone, keys in by_zone.items():
            fresh = self._known.find(keys, [USED + zone])
            new += [(zone, key.hash) for key in keys if key not in fresh]
        if not self.needed or (not new and not self._began):
            return
        place = f"leases/{self._zone}/{self._id}/used"
        with suppress(RemoteError):
            self._guard.ask(lambda remote: _put(_bucket(remote.bucket), place, ledger.lease(new)))
            for zone, keys in by_zone.items():
                self._known.add(dict.fromkeys(keys, ALONE), USED + zone)


def _put(bucket: Bucket, path: str, data: bytes) -> None:
    bucket.create(bucket.place(path), data)


def _bucket(bucket: Bucket | None) -> Bucket:
    assert bucket is not None
    return bucket
