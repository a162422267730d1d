"""What a collector read of results, kept from one run to the next: of a bucket, only what is new is read.

Guarantees: believed is only what was read of the very object that is listed now, by its place, tag, size and time:
results are written once, and one that was written again is read again. A file that is lost, torn, damaged or
of another form is none, so losing it costs time and nothing else. What could not be read, or is of a newer hb, is
never remembered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.store.remote.bucket import Object
from hermetic.store.remote.entry import Needs
from hermetic.store.remote.frames import BadFrame, compress, decompress
from hermetic.store.remote.ledger import Name
from hermetic.store.sections import Damaged, Sections, write_sections

FORM = "hb-readings 1"
LIMIT = 4 << 30  # bytes, unpacked
_SECTION = "results"


@dataclass(frozen=True)
class Readings:
    """``path``: None remembers nothing."""

    path: Path | None = None
    _known: Mapping[str, tuple[Object, Needs]] = field(default_factory=dict)

    @staticmethod
    def at(path: Path) -> Readings:
        """What is remembered there."""
        try:
            with Sections(path, FORM) as sections:
                return Readings(path, _decoded(decompress(sections.read(_SECTION), LIMIT)))
        except (Damaged, BadFrame, OSError, ValueError, KeyError, TypeError, IndexError):
            return Readings(path)

    def find(self, result: Object) -> Needs | None:
        """What the result stands on, if this very object was read before."""
        known = self._known.get(result.place)
        return known[1] if known is not None and known[0] == result else None

    def keep(self, read: Iterable[tuple[Object, Needs]]) -> None:
        """Remember these, and nothing else. A full disk, or a folder that may not be written, remembers nothing."""
        if self.path is not None:
            with suppress(OSError):
                write_sections(self.path, FORM, {_SECTION: compress(_encoded(read))})


def _encoded(read: Iterable[tuple[Object, Needs]]) -> bytes:
    """Names are written once: results share blobs."""
    numbers: dict[Name, int] = {}

    def numbered(names: Iterable[Name]) -> list[int]:
        return [numbers.setdefault(name, len(numbers)) for name in sorted(names)]

    rows = [
        [one.place, one.size, one.time, one.tag, numbered(needs)]
        for one, needs in read
        if one.tag  # without one, an object that was written again within its clock's tick could pass for it
    ]
    return json.dumps({"names": [*numbers], "rows": rows}, separators=(",", ":")).encode()


def _decoded(data: bytes) -> dict[str, tuple[Object, Needs]]:
    found = json.loads(data)
    names: list[Name] = [(str(zone), str(sha256)) for zone, sha256 in found["names"]]
    return {
        place: (Object(place, size, time, tag), frozenset(names[one] for one in needs))
        for place, size, time, tag, needs in found["rows"]
    }
