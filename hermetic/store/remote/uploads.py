"""Results to the remote, in the background.

Guarantees: a build never waits for an upload while it has work, and never fails because of one. A result
is written last, after every blob it needs is there; a blob is sent once, whoever needs it. A result is
never overwritten: when another one is there, both are kept and it is reported.
"""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from hermetic.digest import Digest
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote import entry, pack
from hermetic.store.remote.closure import Closure, named
from hermetic.store.remote.downloads import SMALL, batched
from hermetic.store.remote.guard import Guard
from hermetic.store.remote.known import ALONE, Known
from hermetic.store.remote.leases import Condemned, Leases
from hermetic.store.remote.promises import Promises
from hermetic.store.remote.protocol import Remote, RemoteError
from hermetic.store.remote.turns import Crew
from hermetic.store.trust import Policy, Signer, Untrusted

T = TypeVar("T")
U = TypeVar("U")
Where: TypeAlias = tuple[str, str]  # (zone, pack or ALONE): the object a blob is in
WORKERS = 4  # results at the same time
WIDTH = 16  # blobs at the same time


@dataclass(frozen=True)
class Conflict:
    """Two results for one key that name different outputs: the action is not reproducible."""

    key: Digest
    ours: pb.ActionResult
    theirs: pb.ActionResult
    aside: str  # where ours is kept


@dataclass
class Sent:
    """What became of the uploads."""

    results: int = 0
    there: int = 0  # asked for first, and found as they are here
    blobs: int = 0
    failed: int = 0
    postponed: int = 0  # of these: until a collector is done
    conflicts: list[Conflict] = field(default_factory=list)
    blocked: dict[str, None] = field(default_factory=dict)  # why a place is held by what we do not trust


@dataclass(frozen=True)
class _Job:
    key: Digest
    result: pb.ActionResult
    heal: bool  # its blobs were lost: send every one again, alone
    ask: bool  # it may well be there: look before anything is sent


class Uploads:
    def __init__(
        self,
        guard: Guard[Remote],
        disk: DiskStore,
        promises: Promises,
        read: Callable[[Digest], bytes],
        known: Known,
        signer: Signer,
        policy: Policy,
        zones: Sequence[str],
        leases: Leases,
    ) -> None:
        """``zones``: the one written to, then those whose blobs may be relied on. ``read``: of the store,
        or of the remote for what is only promised."""
        self._guard = guard
        self._promises = promises
        self._read = read
        self._disk = disk
        self._known = known
        self._signer = signer
        self._policy = policy
        self._zones = tuple(zones)
        self._leases = leases
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._open = 0
        self._threads: list[threading.Thread] = []
        self._crew = Crew(WIDTH)
        self._claims: dict[Digest, Future[str]] = {}
        self.sent = Sent()

    # --- the queue --------------------------------------------------------------------------------

    def offer(self, key: Digest, result: pb.ActionResult, *, heal: bool = False, ask: bool = False) -> None:
        with self._lock:
            self._open += 1
            if len(self._threads) < min(WORKERS, self._open):
                thread = threading.Thread(target=self._work, name="upload", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put(_Job(key, result, heal, ask))

    @property
    def waiting(self) -> int:
        """Results not written yet."""
        with self._lock:
            return self._open

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything is written or given up; False when time ran out."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout)

    def close(self) -> bool:
        """Leave what has not begun. An entry is written last, so nothing is ever half there. Returns whether
        nothing is under way any more."""
        over = self.waiting == 0
        for _ in self._threads:
            self._jobs.put(None)
        self._crew.leave()
        return over

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            there = postponed = False
            try:
                there = job.ask and self._there(job)
                done = there or self._upload(job)
            except Condemned:
                done, postponed = False, True
            except (RemoteError, MissingBlob, RuntimeError, CancelledError):  # the last two: it was left
                done = False
            finally:
                with self._idle:
                    self._open -= 1
                    self._idle.notify_all()
            with self._lock:
                self.sent.results += done and not there
                self.sent.there += there
                self.sent.failed += not done
                self.sent.postponed += postponed

    # --- one result -------------------------------------------------------------------------------

    def _there(self, job: _Job) -> bool:
        """Whether its place holds a result that is trusted and the same."""
        home = self._zones[0]
        data = self._guard.ask(lambda remote: remote.get_result(job.key, home))
        try:
            return data is not None and entry.same_outputs(
                job.result, entry.opened(data, job.key, home, self._policy).result
            )
        except Untrusted:
            return False  # writing it says so

    def _upload(self, job: _Job) -> bool:
        self._leases.begin()
        closure = Closure.of(job.result, self._disk, self._read)
        left = [one for one in closure.blobs if one not in closure.inline and one.size]
        placed = self._heal(left, closure) if job.heal else self._place(left, closure)
        where = self._whereabouts(closure, placed)
        objects = dict.fromkeys(
            (zone, digest if name == ALONE else Digest.parse(name)) for digest, (zone, name) in placed.items()
        )
        stored = [digest for zone, digest in objects if zone == self._zones[0]]
        needs = [(zone, digest.hash) for zone, digest in objects] if self._leases.needed else []
        self._leases.check(needs)
        data = entry.seal(job.key, closure.result, where, closure.inline.values(), stored, self._signer, needs)
        there = self._guard.ask(lambda remote: remote.put_result(job.key, self._zones[0], data))
        if there is not None:
            self._compare(job, closure.result, data, there)
        return there is None

    def _whereabouts(self, closure: Closure, placed: Mapping[Digest, Where]) -> hb_pb2.Whereabouts:
        """Which pack each blob is in, so that a reader of one blob asks for one pack."""
        where = hb_pb2.Whereabouts(remote=self._guard.remote.name, zone=self._zones[0])
        numbers: dict[Where, int] = {}
        for zone, name in dict.fromkeys(placed.values()):
            if name != ALONE:
                where.packs.add(digest=name, zone=zone)
                numbers[zone, name] = len(where.packs)
        number = {digest: numbers.get(place, 0) for digest, place in placed.items()}
        where.named.extend(number.get(digest, 0) for digest in named(closure.result))
        for files in closure.trees:
            where.trees.add(packs=[number.get(digest, 0) for digest in files])
        return where

    # --- blobs ------------------------------------------------------------------------------------

    def _place(self, digests: Sequence[Digest], closure: Closure) -> dict[Digest, Where]:
        """Have every blob in the remote: where each is. Blobs that another result is
        sending are waited for, after our own are sent: nobody waits for somebody who waits for us."""
        placed = self._known.find(digests, self._zones)
        placed |= self._promised([one for one in digests if one not in placed], closure)
        mine: list[Digest] = []
        theirs: dict[Digest, Future[str]] = {}
        with self._lock:
            for digest in digests:
                if digest in placed:
                    continue
                if digest in self._claims:
                    theirs[digest] = self._claims[digest]
                else:
                    self._claims[digest] = Future()
                    mine.append(digest)
        try:
            sent = self._send(mine, closure)
        except BaseException as error:
            with self._lock:
                futures = [self._claims.pop(digest) for digest in mine]
            for future in futures:
                future.set_exception(error)
            raise
        for digest in mine:
            self._claims[digest].set_result(sent[digest])
        self._known.add(sent, self._zones[0])
        for digest, future in theirs.items():
            sent[digest] = future.result()
        return placed | {digest: (self._zones[0], name) for digest, name in sent.items()}

    def _promised(self, digests: Sequence[Digest], closure: Closure) -> dict[Digest, Where]:
        """Blobs that are not here, because another result of the remote has them."""
        found: dict[Digest, Where] = {}
        for digest in digests:
            place = None if closure.here(digest) else self._promises.find(digest)
            if place is None:
                continue
            if place.pack is not None and self._leases.there(*place.pack):
                found[digest] = (place.pack[1], str(place.pack[0]))
            elif self._leases.there(digest, place.zone):
                found[digest] = (place.zone, ALONE)
        return found

    def _heal(self, digests: Sequence[Digest], closure: Closure) -> dict[Digest, Where]:
        """Send every blob alone. An entry that is there already may name packs that are gone; its reader
        then finds the blobs under their own names."""
        self._each(lambda one: self._send_alone(one, closure), digests)
        self._known.add(dict.fromkeys(digests, ALONE), self._zones[0])
        return dict.fromkeys(digests, (self._zones[0], ALONE))

    def _send(self, digests: Sequence[Digest], closure: Closure) -> dict[Digest, str]:
        batch = self._guard.ask(lambda remote: remote.batch) if digests else 0
        if batch:
            return self._send_batches(digests, closure, batch)
        # The messages of trees have objects of their own: who only looks at a tree brings none of its files.
        small = [one for one in digests if one.size <= pack.SMALL and one not in closure.made]
        large = [one for one in digests if one.size > pack.SMALL or one in closure.made]
        if len(small) == 1:
            large, small = [*large, *small], []
        missing = self._guard.ask(lambda remote: remote.find_missing(large, self._zones[0])) if large else set()
        self._each(lambda one: self._send_alone(one, closure), missing)
        sent = dict.fromkeys(large, ALONE)
        groups = list(pack.grouped(small))
        names = self._each(lambda group: self._send_pack(group, closure), groups)
        for group, name in zip(groups, names, strict=True):
            sent.update(dict.fromkeys(group, name))
        return sent

    def _send_batches(self, digests: Sequence[Digest], closure: Closure, batch: int) -> dict[Digest, str]:
        missing = self._guard.ask(lambda remote: remote.find_missing(digests, self._zones[0]))
        small = batched(sorted(one for one in missing if one.size <= SMALL), batch)
        self._each(lambda group: self._send_group(group, closure), small)
        self._each(lambda one: self._send_alone(one, closure), [one for one in missing if one.size > SMALL])
        return dict.fromkeys(digests, ALONE)

    def _send_group(self, group: Sequence[Digest], closure: Closure) -> None:
        blobs = [(digest, closure.content(digest)) for digest in group]
        self._guard.ask(lambda remote: remote.put_small(blobs, self._zones[0]))
        self._count(len(blobs))

    def _send_pack(self, group: Sequence[Digest], closure: Closure) -> str:
        data = pack.make(group, lambda digest: closure.content(digest))
        name = Digest.of(data)
        self._guard.ask(lambda remote: remote.put_blob(name, self._zones[0], lambda: io.BytesIO(data)))
        self._count(len(group))
        return str(name)

    def _send_alone(self, digest: Digest, closure: Closure) -> None:
        self._guard.ask(lambda remote: remote.put_blob(digest, self._zones[0], lambda: closure.stream(digest)))
        self._count(1)

    def _count(self, blobs: int) -> None:
        with self._lock:
            self.sent.blobs += blobs

    def _each(self, work: Callable[[T], U], items: Iterable[T]) -> list[U]:
        return self._crew.map(work, items)

    # --- a place that is taken --------------------------------------------------------------------

    def _compare(self, job: _Job, ours: pb.ActionResult, data: bytes, there: bytes) -> None:
        try:
            theirs = entry.opened(there, job.key, self._zones[0], self._policy).result
        except Untrusted as error:
            with self._lock:
                self.sent.blocked.setdefault(error.message)
            return
        if not entry.same_outputs(ours, theirs):
            aside = self._guard.ask(lambda remote: remote.put_aside(job.key, self._zones[0], data))
            with self._lock:
                self.sent.conflicts.append(Conflict(job.key, ours, theirs, aside))
