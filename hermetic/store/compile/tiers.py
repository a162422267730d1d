"""Compiled objects for one build: on disk, and behind that a bucket.

Guarantees: whatever a bucket does costs at most a few short waits, then it is left alone; what it gave is
on disk afterwards. Nothing an action wrote is seen by another before ``publish``; what is published goes to
the bucket behind the build.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hermetic.store.compile.bucket import Bucket
from hermetic.store.compile.objects import Objects
from hermetic.store.remote.guard import Guard
from hermetic.store.remote.protocol import RemoteError

SENDERS = 8  # objects on their way to the bucket at the same time


class Tiers:
    def __init__(self, objects: Objects, bucket: Bucket | None = None) -> None:
        self.objects = objects
        self.bucket = bucket
        self._guard = Guard(bucket) if bucket is not None else None
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="hb-compile-cache")
        self._sent: list[Future[None]] = []
        self._missed: set[str] = set()
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Get ready for requests, in the background."""
        if self.bucket is not None:
            self._senders.submit(self.bucket.warm)

    def open(self, key: str) -> tuple[BinaryIO, int] | None:
        """A stream of an object and its size, or None. The caller closes it."""
        found = self.objects.open(key)
        if found is not None or self._guard is None or key in self._missed:
            return found
        data = self._fetched(self._guard, key)
        if data is None:
            return None
        self.objects.put(key, data)
        return self.objects.open(key)

    def publish(self, held: Objects) -> None:
        """Make what an action wrote visible to others."""
        keys = [key for key in list(held.keys()) if self.objects.take(held, key)]
        with self._lock:
            self._missed.difference_update(keys)
        if self._guard is not None and self._guard.remote.writes:
            self._sent += [self._senders.submit(self._send, self._guard, key) for key in keys]

    def waiting(self) -> int:
        """How many objects are not sent yet."""
        return sum(not one.done() for one in self._sent)

    def close(self, *, wait: bool) -> None:
        self._senders.shutdown(wait=wait, cancel_futures=not wait)
        if self.bucket is not None and wait:
            self.bucket.close()

    @property
    def problem(self) -> str:
        """What went wrong with the bucket first, or ""."""
        return next(iter(self._guard.problems), "") if self._guard is not None else ""

    def _fetched(self, guard: Guard[Bucket], key: str) -> bytes | None:
        with suppress(RemoteError):
            data = guard.ask(lambda bucket: bucket.get_object(key))
            if data is not None:
                return data
            with self._lock:
                self._missed.add(key)  # once in a build is enough
        return None

    def _send(self, guard: Guard[Bucket], key: str) -> None:
        data = self.objects.read(key)
        if data is not None:
            with suppress(RemoteError):
                guard.ask(lambda bucket: bucket.put_object(key, data))


def tier_folder(root: Path, space: str) -> Path:
    """Where objects of one origin lie in a store: what came from one bucket, zone and architecture is not
    shown to builds that use another."""
    import hashlib

    return root / "compile" / hashlib.sha256(space.encode()).hexdigest()[:16]
