"""Blobs from the remote into the local store: on demand, or many at once.

Guarantees: nothing enters the store but under the digest of its own bytes; what was promised and is not
there, is wrong or cannot be had is withdrawn and counts as missing. Two threads that want the same thing
ask for it once.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hermetic import tree
from hermetic.digest import Digest
from hermetic.errors import HbError, StoreError
from hermetic.store.disk import DiskStore
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote import pack
from hermetic.store.remote.arrival import Arrival
from hermetic.store.remote.frames import BadFrame
from hermetic.store.remote.guard import Guard
from hermetic.store.remote.known import Known
from hermetic.store.remote.promises import Place, Promises, TreePromise
from hermetic.store.remote.protocol import Remote, RemoteError, Sink

WIDTH = 16  # requests at the same time
SMALL = 256 << 10  # blobs up to this size travel in batches, where there are batches


@dataclass
class Losses:
    """What the remote promised and did not give."""

    evicted: set[Digest] = field(default_factory=set)  # not there
    corrupt: set[Digest] = field(default_factory=set)  # there, with other bytes


class Downloads:
    def __init__(
        self, guard: Guard[Remote], disk: DiskStore, promises: Promises, known: Known, zones: Sequence[str]
    ) -> None:
        self._guard = guard
        self._disk = disk
        self._promises = promises
        self._known = known
        self._zones = tuple(zones)
        self._lock = threading.Lock()
        self._flight: dict[Digest, Future[bool]] = {}
        self.losses = Losses()

    # --- one blob ---------------------------------------------------------------------------------

    def fetch(self, digest: Digest) -> None:
        """Bring one blob here. Raises MissingBlob."""
        promise = self._promises.tree(digest)
        if promise is not None and self._directories(promise) and self._disk.has(digest):
            return
        place = self._promises.find(digest) or self._search(digest)
        if self._disk.has(digest):
            return  # it came with a tree
        if place is None or not self.bring(digest, place):
            self._promises.withdraw([digest])
            raise MissingBlob(digest)

    def _search(self, digest: Digest) -> Place | None:
        """Look into trees nobody has opened yet."""
        for promise in self._promises.unlisted():
            if self._promises.list_files(promise.root) or self._directories(promise):
                place = self._promises.find(digest)
                if place is not None or self._disk.has(digest):
                    return place
        return None

    def _directories(self, promise: TreePromise) -> bool:
        """Have all directories of a tree, by its one message."""
        if self._promises.list_files(promise.root):
            return True
        if not self._disk.has(promise.message) and not self.bring(promise.message, promise.place):
            self._promises.withdraw([promise.root, promise.message])
            return False
        if not self._promises.list_files(promise.root):
            self._promises.withdraw([promise.root, promise.message])
            return False
        return True

    def bring(self, digest: Digest, place: Place) -> bool:
        """Have a blob here that is at a place, if it is there; False otherwise."""
        if self._disk.has(digest):
            return True
        if place.pack is not None:
            name, zone = place.pack
            if self._once(name, partial(self._unfold, name, zone)) and self._disk.has(digest):
                return True
        return self._once(digest, partial(self._alone, digest, place.zone))

    def _alone(self, digest: Digest, zone: str) -> bool:
        if self._disk.has(digest):
            return True
        answers: list[bool | None] = []
        for one in dict.fromkeys((zone, *self._zones)):
            handle, name = tempfile.mkstemp(dir=self._disk.root / "tmp")
            path = Path(name)
            try:
                with os.fdopen(handle, "wb") as file, Arrival(file, digest.size) as sink:
                    answers.append(self._ask(digest, one, sink))
                if answers[-1] and self._admit(digest, sink.digest, path):
                    return True
            finally:
                path.unlink(missing_ok=True)
        if None not in answers:
            self._lost(digest)
        return False

    def _admit(self, digest: Digest, found: Digest, path: Path) -> bool:
        if found == digest:
            self._disk.adopt(path, digest)
        else:
            self.losses.corrupt.add(digest)
        return found == digest

    def _unfold(self, name: Digest, zone: str) -> bool:
        """Take a pack's blobs into the store, each under its own digest."""
        with tempfile.TemporaryFile(dir=self._disk.root / "tmp") as sink:
            there = self._ask(name, zone, sink) if name.size <= 2 * pack.LIMIT else False
            if not there:
                if there is False:
                    self._lost(name)
                return False
            sink.seek(0)
            data = sink.read()
        try:
            if Digest.of(data) != name:
                raise BadFrame("the pack has other bytes than its name")
            for _, content in pack.unfold(data):
                self._disk.put(content)
        except BadFrame:
            self.losses.corrupt.add(name)
            return False
        return True

    def _ask(self, digest: Digest, zone: str, sink: Sink) -> bool | None:
        """Whether a blob is there; None when that cannot be told, or what is there is not even a frame."""
        try:
            return self._guard.ask(lambda remote: remote.get_blob(digest, zone, sink))
        except BadFrame:
            self.losses.corrupt.add(digest)
        except RemoteError:
            pass
        return None

    def _lost(self, digest: Digest) -> None:
        self.losses.evicted.add(digest)
        self._known.forget([digest])

    def _once(self, name: Digest, work: Callable[[], bool]) -> bool:
        """Do what is asked for at the same time by many once."""
        with self._lock:
            future = self._flight.get(name)
            mine = future is None
            if future is None:
                future = self._flight[name] = Future()
        if not mine:
            return future.result()
        try:
            done = work()
            future.set_result(done)
            return done
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._flight[name]

    # --- many -------------------------------------------------------------------------------------

    def want_trees(self, roots: Iterable[Digest]) -> None:
        """Bring everything below these trees that is promised. What cannot be had is withdrawn, and
        whoever needs it learns that it is missing."""
        files: dict[Digest, None] = {}
        for root in dict.fromkeys(roots):
            try:
                self._ensure(root)
                nodes = tree.walk(root, self.read)
                files.update((node.digest, None) for _, node in nodes if isinstance(node, tree.File))
            except (MissingBlob, HbError):
                continue
        self.want(files)

    def _ensure(self, root: Digest) -> None:
        promise = self._promises.tree(root)
        if promise is not None:
            self._directories(promise)

    def read(self, digest: Digest) -> bytes:
        """A blob, fetched when it is not here."""
        try:
            return self._disk.read(digest)
        except MissingBlob:
            self.fetch(digest)
            return self._disk.read(digest)

    def want(self, digests: Iterable[Digest]) -> None:
        """Bring these blobs, where they are promised and not here."""
        missing = {one: place for one in self._disk.missing(digests) if (place := self._promises.find(one))}
        if not missing:
            return
        with ThreadPoolExecutor(WIDTH, "download") as pool:
            if self._batch():
                self._batches(missing, pool)
            else:
                packs = dict(place.pack for place in missing.values() if place.pack is not None)
                list(pool.map(lambda item: self._once(item[0], partial(self._unfold, *item)), packs.items()))
            left = self._disk.missing(missing)
            got = pool.map(lambda one: self._once(one, partial(self._alone, one, missing[one].zone)), left)
            self._promises.withdraw(one for one, good in zip(left, got, strict=True) if not good)

    def _batch(self) -> int:
        try:
            return self._guard.ask(lambda remote: remote.batch)
        except RemoteError:
            return 0

    def _batches(self, missing: dict[Digest, Place], pool: ThreadPoolExecutor) -> None:
        groups = batched(sorted(one for one in missing if one.size <= SMALL), self._batch())

        def bring(group: list[Digest]) -> None:
            try:
                found = self._guard.ask(lambda remote: remote.get_small(group, missing[group[0]].zone))
            except (RemoteError, StoreError):
                return
            for digest, data in found.items():
                if Digest.of(data) == digest:
                    self._disk.put(data)
                else:
                    self.losses.corrupt.add(digest)

        list(pool.map(bring, groups))


def batched(digests: Iterable[Digest], limit: int) -> list[list[Digest]]:
    """Blobs in groups of at most ``limit`` bytes; each counts for its digest as well."""
    groups: list[list[Digest]] = []
    size = 0
    for digest in digests:
        cost = digest.size + 100
        if not groups or size + cost > limit:
            groups.append([])
            size = 0
        groups[-1].append(digest)
        size += cost
    return groups
