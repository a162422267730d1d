"""Making room in a bucket: results nobody used for long go, and then the blobs no other result needs.

Guarantees: at no moment, wherever this stops, does a result stay whose blobs are gone: results are deleted first,
blobs only when every build that may still rely on them has ended, and only when no result needs them then. Builds
go on meanwhile, and so may another collector. A zone with results of a newer hb is left alone.

The order that makes it safe is ADR 16: list the blobs, then the leases, then the results; publish what is condemned;
then see who is building; when they have ended, look for new results again; delete; say so.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hermetic.proto import hb_pb2
from hermetic.store.remote import entry, ledger
from hermetic.store.remote.bucket import PAGE, Bucket, Object
from hermetic.store.remote.ledger import ABANDONED, Name, Sentence, name_of
from hermetic.store.remote.protocol import RemoteError
from hermetic.store.remote.readings import Readings
from hermetic.store.remote.standing import Standing, bodies

REMEMBERED = 3 * 24 * 3600.0  # seconds: as long as anybody can take for known what a swept list deleted, and more


@dataclass(frozen=True)
class Limits:
    """``keep``: seconds that what was used stays. ``size``: bytes of blobs that results may need. ``grace``: seconds
    that a blob stays without a result."""

    keep: float
    size: int | None = None
    grace: float = 24 * 3600.0


@dataclass
class Collected:
    """What was deleted, or would be."""

    results: int = 0
    broken: int = 0  # of these: results whose blobs were gone already
    blobs: int = 0
    size: int = 0  # bytes of these blobs
    left: int = 0  # bytes of blobs that stay
    read: int = 0  # results that were read, the others being known from an earlier run
    waiting: int = 0  # blobs that are condemned, and deleted when the builds that run now have ended
    newer: set[str] = field(default_factory=set)  # zones left alone


@dataclass(frozen=True)
class _Entry:
    """A result in the bucket."""

    object: Object
    needs: entry.Needs | None  # None: it is no result
    used: float


class Collector:
    def __init__(
        self,
        bucket: Bucket,
        limits: Limits,
        *,
        dry_run: bool = False,
        readings: Readings | None = None,
        clocks: ledger.Clocks = ledger.clocks,
    ) -> None:
        """``readings``: what earlier runs read."""
        self._bucket = bucket
        self._limits = limits
        self._dry_run = dry_run
        self._clocks = clocks
        self._id = uuid.uuid4().hex
        self._now = bucket.now()
        self._standing = Standing(bucket, readings or Readings())
        self._blobs: dict[Name, Object] = {}
        self._done = Collected()

    def run(self) -> Collected:
        """Raises RemoteError; whatever was done until then is right."""
        ripe = self._ripe()
        self._blobs = {name_of(one.place): one for one in self._list("cas/")}
        used = self._uses()
        live = self._expire(used)
        self._standing.keep(one.object for one in live)
        needed = _all(one.needs for one in live)
        for one in ripe:
            self._sweep(one, one.blobs(self._bucket))
        garbage = self._garbage(needed)
        if garbage:
            self._condemn(garbage)
        self._tidy()
        self._done.newer, self._done.read = self._standing.newer, self._standing.read
        self._done.left = sum(one.size for one in self._blobs.values())
        return self._done

    # --- results ----------------------------------------------------------------------------------

    def _expire(self, used: Mapping[Name, float]) -> list[_Entry]:
        """Delete the results that are over the limits; those that stay."""
        found = list(self._list("ac/"))
        keep = self._now - self._limits.keep
        uses = {one.place: max(one.time, used.get(name_of(one.place), 0.0)) for one in found}
        old = [one.place for one in found if uses[one.place] < keep]
        needs = self._standing.of([one for one in found if uses[one.place] >= keep])
        entries = [_Entry(one, needs[one.place], uses[one.place]) for one in found if one.place in needs]
        whole = [one for one in entries if self._whole(one)]
        live = self._fitting(whole)
        staying = {one.object.place for one in live}
        going = old + [one.object.place for one in entries if one.object.place not in staying]
        self._done.results, self._done.broken = len(going), len(entries) - len(whole)
        self._delete(going)
        return live

    def _whole(self, one: _Entry) -> bool:
        """Whether a result can be used. What is not in the listing of blobs may have come after it."""
        if one.needs is None:
            return False
        gone = [name for name in one.needs if name not in self._blobs]
        return all(self._bucket.exists(self._place(name)) for name in gone)

    def _fitting(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Those used last whose blobs together keep to the size."""
        if self._limits.size is None:
            return list(entries)
        seen: set[Name] = set()
        total = 0
        fitting = []
        for one in sorted(entries, key=lambda one: -one.used):
            new = [name for name in _all([one.needs]) if name in self._blobs and name not in seen]
            total += sum(self._blobs[name].size for name in new)
            if total > self._limits.size:
                break
            seen.update(new)
            fitting.append(one)
        return fitting

    # --- leases -----------------------------------------------------------------------------------

    def _uses(self) -> dict[Name, float]:
        """Result → when a build that used it ended."""
        leases = [one for one in self._list("leases/") if one.place.endswith("/used")]
        leases = [one for one in leases if one.time >= self._now - self._limits.keep]
        used: dict[Name, float] = {}
        for one, data in zip(leases, bodies(self._bucket, leases), strict=True):
            for name in _leased(data):
                used[name] = max(used.get(name, 0.0), one.time)
        return used

    def _open(self) -> set[str]:
        """The builds that are writing."""
        found: dict[str, dict[str, Object]] = {}
        for one in self._list("leases/"):
            build, _, kind = one.place.rpartition("/")
            found.setdefault(build, {})[kind] = one
        return {
            build
            for build, kinds in found.items()
            if "used" not in kinds and "open" in kinds and kinds["open"].time > self._now - ABANDONED
        }

    # --- blobs ------------------------------------------------------------------------------------

    def _garbage(self, needed: set[Name]) -> dict[Name, Object]:
        young = self._now - self._limits.grace
        pending = set().union(*(one.blobs(self._bucket) for one in ledger.sentences(self._bucket) if one.pending))
        return {
            name: one
            for name, one in self._blobs.items()
            if name not in needed and name not in pending and one.time <= young and name[0] not in self._standing.newer
        }

    def _condemn(self, garbage: Mapping[Name, Object]) -> None:
        """Publish what is to go, and who may still rely on it. With nobody building it goes at once."""
        if self._dry_run:
            self._count(garbage)
            return
        id_ = uuid.uuid4().hex
        self._write(f"condemned/{id_}/list", ledger.sentence(garbage))
        waits = self._wait_for(id_)
        if waits:
            self._done.waiting += len(garbage)
        else:
            self._sweep(Sentence(id_), set(garbage))

    def _wait_for(self, id_: str) -> set[str]:
        """Only after the list is there: who is not building by now will read it."""
        building = self._open()
        self._write(f"condemned/{id_}/waits", hb_pb2.Waits(leases=sorted(building)).SerializeToString())
        return building

    def _ripe(self) -> list[Sentence]:
        """Lists of earlier runs that nobody has to be waited for any more."""
        if self._dry_run:
            return []
        ripe = []
        building = self._open()
        for one in ledger.sentences(self._bucket):
            if one.swept:
                self._bury(one)
            elif one.pending:
                waits = one.waits(self._bucket)
                left = self._wait_for(one.id) if waits is None else building.intersection(waits)
                if left:
                    self._done.waiting += len(one.blobs(self._bucket))
                else:
                    ripe.append(one)
        return ripe

    def _bury(self, one: Sentence) -> None:
        """Speak for the collectors that were killed while they deleted what another one has deleted since."""
        for who, begun in one.sweeping.items():
            if begun.time <= self._now - ABANDONED:
                self._write(f"condemned/{one.id}/{ledger.SWEPT}{who}", b"")

    def _sweep(self, one: Sentence, condemned: set[Name]) -> None:
        """Nobody adds to what relies on these blobs: whoever did before has ended, and its results are seen now.
        That holds until every collector that sweeps the list has ended; who comes after the first end leaves it."""
        began = self._clocks()
        self._write(f"condemned/{one.id}/{ledger.SWEEP}{self._id}", b"")
        if not self._swept(one):
            self._clear(condemned, began)
        self._write(f"condemned/{one.id}/{ledger.SWEPT}{self._id}", b"")

    def _swept(self, one: Sentence) -> bool:
        where = self._bucket.place(f"condemned/{one.id}/{ledger.SWEPT}")
        return any(True for _ in self._bucket.listing(where))

    def _clear(self, condemned: set[Name], began: tuple[float, ...]) -> None:
        needed = _all(self._standing.of(list(self._list("ac/"))).values())
        going = {
            name: self._blobs[name]
            for name in condemned
            if name not in needed and name in self._blobs and name[0] not in self._standing.newer
        }
        places = [place.place for place in going.values()]
        for start in range(0, len(places), PAGE):
            if ledger.lasted(began, self._clocks()):
                raise RemoteError(f"{self._bucket.name}: collecting took too long; run it again")
            self._delete(places[start : start + PAGE])
        self._count(going)

    def _count(self, going: Mapping[Name, Object]) -> None:
        self._done.blobs += len(going)
        self._done.size += sum(one.size for one in going.values())
        for name in going:
            del self._blobs[name]

    # --- the bucket -------------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Leases, lists and lost results that say nothing any more."""
        old = self._now - max(self._limits.keep, ABANDONED)
        going = [one.place for kind in ("leases/", "conflict/") for one in self._list(kind) if one.time < old]
        for one in ledger.sentences(self._bucket):
            if one.swept and not one.sweeping and max(end.time for end in one.swept) < self._now - REMEMBERED:
                # without its list it is not pending; without the word of its end it is not there
                order = sorted(one.objects, key=lambda kind: (kind.startswith(ledger.SWEPT), kind == "list"))
                going += [one.objects[kind].place for kind in order]
        self._delete(going)

    def _list(self, path: str) -> Iterable[Object]:
        return self._bucket.listing(self._bucket.place(path))

    def _place(self, name: Name) -> str:
        return self._bucket.place(f"cas/{name[0]}/{name[1][:2]}/{name[1]}")

    def _delete(self, places: Sequence[str]) -> None:
        if places and not self._dry_run:
            self._bucket.delete(places)

    def _write(self, path: str, data: bytes) -> None:
        self._bucket.create(self._bucket.place(path), data)


def _all(needs: Iterable[entry.Needs | None]) -> set[Name]:
    found: set[Name] = set()
    for one in needs:
        if one is not None:
            found |= one
    return found


def _leased(data: bytes | None) -> list[Name]:
    """A lease that cannot be read keeps nothing."""
    try:
        return [] if data is None else ledger.leased(data)
    except Exception:  # BadFrame, and protobuf's DecodeError, which has no stable public base
        return []
