"""What builds and collectors of a bucket tell each other, as objects that are written once.

    <prefix>/hb/leases/<zone>/<build>/open   a build is about to write; what it finds there must stay
    <prefix>/hb/leases/<zone>/<build>/used   it has ended; the results it used
    <prefix>/hb/condemned/<id>/list          blobs a collector is about to delete: rely on none of them
    <prefix>/hb/condemned/<id>/waits         the builds that may rely on them nevertheless, because they began before
    <prefix>/hb/condemned/<id>/sweep-<who>   a collector deletes them; the list holds until it says that it has ended
    <prefix>/hb/condemned/<id>/swept-<who>   it has ended; what was known of the bucket before may be wrong

Nothing here is signed: whoever may write to ``leases/`` can keep things alive, not more. ADR 16 says why this is safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from hermetic.proto import hb_pb2
from hermetic.store.remote.bucket import Bucket, Object
from hermetic.store.remote.frames import compress, decompress
from hermetic.store.remote.protocol import RemoteError

Name: TypeAlias = tuple[str, str]  # zone, SHA-256 in hexadecimal
Clocks: TypeAlias = Callable[[], tuple[float, ...]]  # several, in seconds: whichever went furthest is right
LASTS = 20 * 3600.0  # seconds a build may go on writing under its lease, a collector deleting what it said it would
ABANDONED = 24 * 3600.0  # after so long, who has not ended was killed
LIMIT = 256 << 20  # bytes of a list
SWEEP, SWEPT = "sweep-", "swept-"
_SIZE = 32


def clocks() -> tuple[float, ...]:
    """One that goes on while the machine sleeps, and one that is put right after a virtual machine was paused."""
    return time.clock_gettime(time.CLOCK_BOOTTIME), time.time()


def lasted(began: tuple[float, ...], now: tuple[float, ...]) -> bool:
    """Whether somebody has taken so long that others will soon count them as killed."""
    return any(after - before > LASTS for before, after in zip(began, now, strict=False))


def name_of(place: str) -> Name:
    """…/<zone>/<hh>/<sha256>"""
    zone, _, sha256 = place.split("/")[-3:]
    return zone, sha256


def packed(names: Iterable[Name]) -> Iterator[hb_pb2.Names]:
    """Names by zone, sorted."""
    zones: dict[str, list[bytes]] = {}
    for zone, sha256 in sorted(set(names)):
        zones.setdefault(zone, []).append(bytes.fromhex(sha256))
    for zone, hashes in zones.items():
        yield hb_pb2.Names(zone=zone, hashes=b"".join(hashes))


def unpacked(messages: Iterable[hb_pb2.Names]) -> Iterator[Name]:
    for one in messages:
        for start in range(0, len(one.hashes) // _SIZE * _SIZE, _SIZE):
            yield one.zone, one.hashes[start : start + _SIZE].hex()


def lease(results: Iterable[Name]) -> bytes:
    return compress(hb_pb2.Lease(results=packed(results)).SerializeToString(deterministic=True))


def leased(data: bytes) -> list[Name]:
    """The results a lease names. Raises for what is no lease: BadFrame, or protobuf's own error."""
    return list(unpacked(hb_pb2.Lease.FromString(decompress(data, LIMIT)).results))


@dataclass
class Sentence:
    """One list of condemned blobs."""

    id: str
    objects: dict[str, Object] = field(default_factory=dict)  # by kind: list, waits, sweep-<who>, swept-<who>

    @property
    def pending(self) -> bool:
        """Whether nobody may rely on its blobs: they go, or a second collector may not be done with them."""
        return "list" in self.objects and (not self.swept or bool(self.sweeping))

    @property
    def swept(self) -> list[Object]:
        """The ends of the collectors that have deleted them."""
        return [one for kind, one in self.objects.items() if kind.startswith(SWEPT)]

    @property
    def sweeping(self) -> dict[str, Object]:
        """The collectors that delete them now, or were killed at it."""
        begun = {kind.removeprefix(SWEEP): one for kind, one in self.objects.items() if kind.startswith(SWEEP)}
        return {who: one for who, one in begun.items() if SWEPT + who not in self.objects}

    def blobs(self, bucket: Bucket) -> set[Name]:
        data = bucket.read(self.objects["list"].place, LIMIT)
        return set() if data is None else set(unpacked(_condemned(data, bucket.name).blobs))

    def waits(self, bucket: Bucket) -> list[str] | None:
        """The leases it waits for; None when the collector was interrupted before it knew."""
        data = bucket.read(self.objects["waits"].place) if "waits" in self.objects else None
        return None if data is None else list(hb_pb2.Waits.FromString(data).leases)


def sentences(bucket: Bucket) -> list[Sentence]:
    """All lists there are."""
    found: dict[str, Sentence] = {}
    for one in bucket.listing(bucket.place("condemned/")):
        name, _, kind = one.place.rpartition("/")
        id_ = name.rpartition("/")[2]
        found.setdefault(id_, Sentence(id_)).objects[kind] = one
    return list(found.values())


def sentence(blobs: Iterable[Name]) -> bytes:
    return compress(hb_pb2.Condemned(blobs=packed(blobs)).SerializeToString(deterministic=True))


def _condemned(data: bytes, name: str) -> hb_pb2.Condemned:
    try:
        return hb_pb2.Condemned.FromString(decompress(data, LIMIT))
    except Exception:  # BadFrame, and protobuf's DecodeError, which has no stable public base
        raise RemoteError(f"{name}: a collector's list of condemned blobs cannot be read", fatal=True) from None
