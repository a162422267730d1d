"""What the results in a bucket stand on: each is read once, in this run or in an earlier one.

Guarantees: what somebody put there that is no result is told from one; a zone with results of a newer hb is named,
because nobody here knows what those stand on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from hermetic.store.remote import entry
from hermetic.store.remote.bucket import Bucket, Object
from hermetic.store.remote.ledger import name_of
from hermetic.store.remote.readings import Readings
from hermetic.store.trust import Untrusted

WIDTH = 16  # objects read at the same time
AHEAD = 256  # and so many asked for together


class Standing:
    """``newer``: zones with results of a newer hb. ``read``: how many results were read."""

    def __init__(self, bucket: Bucket, readings: Readings) -> None:
        self._bucket = bucket
        self._readings = readings
        self._known: dict[tuple[str, str], entry.Needs | None] = {}  # by place and tag
        self._unknown: set[str] = set()  # places of results of a newer hb
        self.newer: set[str] = set()
        self.read = 0

    def of(self, results: Sequence[Object]) -> dict[str, entry.Needs | None]:
        """By place; None for what is no result. Those that went away meanwhile are left out."""
        for one in results:
            if (one.place, one.tag) not in self._known and (found := self._readings.find(one)) is not None:
                self._known[one.place, one.tag] = found
        new = [one for one in results if (one.place, one.tag) not in self._known]
        self.read += len(new)
        for one, data in zip(new, bodies(self._bucket, new), strict=True):
            if data is not None:
                self._known[one.place, one.tag] = self._opened(one.place, data)
        return {one.place: self._known[one.place, one.tag] for one in results if (one.place, one.tag) in self._known}

    def keep(self, results: Iterable[Object]) -> None:
        """Remember what these stand on for the next run, and nothing else."""
        known = ((one, self._known.get((one.place, one.tag))) for one in results if one.place not in self._unknown)
        self._readings.keep((one, needs) for one, needs in known if needs is not None)

    def _opened(self, place: str, data: bytes) -> entry.Needs | None:
        try:
            return entry.needs_of(data)
        except Untrusted:
            return None
        except entry.NewerEntry:
            self.newer.add(name_of(place)[0])
            self._unknown.add(place)
            return frozenset()


def bodies(bucket: Bucket, objects: Sequence[Object]) -> Iterator[bytes | None]:
    """What is in them, in order; None for one that went away. A few hundred are in memory. Raises RemoteError."""
    with ThreadPoolExecutor(WIDTH) as pool:
        for start in range(0, len(objects), AHEAD):
            yield from pool.map(bucket.read, [one.place for one in objects[start : start + AHEAD]])
