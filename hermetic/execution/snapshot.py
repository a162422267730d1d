"""The snapshot of a finished build: what it was made from, what it showed, and the graph in between.

Guarantees: a build with nothing to do opens one file, compares stat records and stops; no rule, no
graph and no store is opened for it. A snapshot speaks for one command line in one folder by one hb.
It is a cache: a damaged, older or foreign one is as good as none, and a build writes the next one.

This module holds what a null build needs and imports little; ``hermetic.execution.columns`` holds the
graph, for builds with something to do.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any

from hermetic.files import keep_newest
from hermetic.store.sections import Damaged, Sections, write_sections
from hermetic.store.witness import Witness

KEPT = 50  # snapshots of one workspace
FOLDER = "snapshots"


def magic() -> str:
    from hermetic import __version__

    return f"hb snapshot 1 {__version__} {sys.implementation.cache_tag}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A requested target as it was shown: its line of the result, and the artifact behind it."""

    id: str
    label: str
    digest: str
    path: str
    layout: str
    kind: str
    hash: str
    size: int
    executable: bool

    def line(self, outcome: str) -> dict[str, str]:
        """What a build says of it, see the command contract."""
        return {"label": self.label, "digest": self.digest, "path": self.path, "outcome": outcome}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``front``: how many of the witness's files decide what the actions are; sources follow. ``places``:
    what was published, ``identities``: and which files lay there. ``actions``: how many the build had.
    ``store``: the folder its results are in, ``state``: what the history calls its graph, ``memory``:
    what the loader calls what it remembers."""

    witness: Witness
    front: int
    actions: int
    store: str
    state: str
    memory: str
    rows: tuple[Shown, ...]
    places: tuple[str, ...]
    identities: bytes

    @property
    def published(self) -> bool:
        """Whether everything shown is still in its place."""
        return identities(self.places) == self.identities

    @property
    def null(self) -> bool:
        """Whether there is nothing to do, as far as stat records tell."""
        return self.published and self.witness.untouched

    def write(self, path: Path, graph: Mapping[str, bytes]) -> None:
        """Write it, with the sections of the graph, and forget the oldest ones beside it."""
        about = {
            "front": self.front,
            "actions": self.actions,
            "store": self.store,
            "state": self.state,
            "memory": self.memory,
            "places": self.places,
        }
        sections = {
            "about": json.dumps(about).encode(),
            "rows": json.dumps([[getattr(row, name) for name in _ROW] for row in self.rows]).encode(),
            "identities": self.identities,
            **self.witness.sections(),
            **graph,
        }
        write_sections(path, magic(), sections)
        keep_newest(path.parent.iterdir(), KEPT)

    @staticmethod
    def read(sections: Sections) -> Snapshot:
        """Raises Damaged."""
        try:
            about: dict[str, Any] = json.loads(sections.read("about"))
            rows = tuple(Shown(*row) for row in json.loads(sections.read("rows")))
            places = tuple(map(str, about["places"]))
            counts = int(about["front"]), int(about["actions"])
            names = str(about["store"]), str(about["state"]), str(about["memory"])
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(repr(error)) from None
        witness = Witness.read(sections)
        return Snapshot(witness, *counts, *names, rows, places, sections.read("identities"))


_ROW = tuple(Shown.__dataclass_fields__)


def snapshot_path(folder: Path, command: Sequence[str], cwd: str, environment: Mapping[str, str]) -> Path:
    """Where the snapshot of a command line lies. ``folder``: the workspace's own state."""
    import hashlib

    named = [environment.get(name, "") for name in ("HB_STORE", "XDG_CACHE_HOME", "HOME")]
    text = json.dumps([list(command), cwd, named], ensure_ascii=True)
    return folder / FOLDER / hashlib.sha256(text.encode()).hexdigest()[:32]


def identities(places: Sequence[str]) -> bytes:
    """Which files lie at the places, links followed: what the store keeps never changes in place."""
    found = []
    for place in places:
        try:
            s = os.stat(place)
        except OSError:
            found.append(bytes(24))
        else:
            found.append(pack("<3q", s.st_ino, s.st_dev, s.st_size))
    return b"".join(found)


def published_places(rows: Sequence[Shown]) -> tuple[str, ...]:
    """Everything on disk that makes up what was shown: of an image also each file of its layout."""
    found = []
    for row in rows:
        found.append(row.path)
        if row.layout in ("image", "index"):
            found += sorted(os.path.join(folder, name) for folder, _, names in os.walk(row.path) for name in names)
    return tuple(found)
