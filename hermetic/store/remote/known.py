"""What a remote is known to have, so that it is not asked again: (zone, blob) → alone, or in which pack.

Guarantees: a blob is known only after the remote took it, and for ``FRESH`` seconds; buckets forget.
What turns out to be gone is forgotten at once. This is a cache of hints: when the file is lost,
damaged or locked, the remote is asked instead.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hermetic.digest import Digest

FRESH = 24 * 3600.0
ALONE = ""
ASKED = 500  # blobs in one query
SWEPT = "swept:"  # in place of a zone: the collections that were heard of
_TABLE = """CREATE TABLE IF NOT EXISTS known (
    remote TEXT, hash TEXT, zone TEXT, pack TEXT, time REAL, PRIMARY KEY (remote, hash, zone)
) WITHOUT ROWID"""


class Known:
    """Hints about one remote. Thread-safe."""

    def __init__(self, database: Path, remote: str, clock: Callable[[], float] = time.time) -> None:
        self._remote = remote
        self._clock = clock
        self._lock = threading.Lock()
        self._database = database
        self._opened: sqlite3.Connection | None = None
        self._blind = False  # what is written there may be wrong

    def find(self, digests: Sequence[Digest], zones: Sequence[str]) -> dict[Digest, tuple[str, str]]:
        """(zone, pack or ALONE) of those blobs that are known; earlier zones win."""
        by_hash = {digest.hash: digest for digest in digests}
        names = list(by_hash)
        found: dict[Digest, tuple[str, str]] = {}
        rank = {zone: place for place, zone in enumerate(zones)}
        if self._blind:
            return found
        with self._lock, suppress(sqlite3.Error):
            for start in range(0, len(names), ASKED):
                some = names[start : start + ASKED]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(
                    f"SELECT hash, zone, pack FROM known WHERE remote = ? AND time > ? AND hash IN ({marks})",
                    (self._remote, self._clock() - FRESH, *some),
                )
                for hash_, zone, pack in rows:
                    digest = by_hash[hash_]
                    if zone in rank and (digest not in found or rank[zone] < rank[found[digest][0]]):
                        found[digest] = (zone, pack)
        return found

    def add(self, placed: Mapping[Digest, str], zone: str) -> None:
        """The remote took these blobs: alone, or in a pack."""
        now = self._clock()
        rows = [(self._remote, digest.hash, zone, pack, now) for digest, pack in placed.items()]
        with self._lock, suppress(sqlite3.Error), self._db:
            self._db.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", rows)

    def forget(self, digests: Iterable[Digest]) -> None:
        """These blobs, and everything in packs of these names, are gone."""
        rows = [(self._remote, digest.hash, self._remote, str(digest)) for digest in digests]
        with self._lock, suppress(sqlite3.Error), self._db:
            self._db.executemany("DELETE FROM known WHERE (remote = ? AND hash = ?) OR (remote = ? AND pack = ?)", rows)

    def collected(self, sweep: str) -> None:
        """Something was deleted: what was known before this was first heard of is forgotten."""
        try:
            with self._lock, self._db:
                where = (self._remote, sweep, SWEPT)
                query = "SELECT 1 FROM known WHERE remote = ? AND hash = ? AND zone = ?"
                if self._db.execute(query, where).fetchone() is None:
                    self._db.execute("DELETE FROM known WHERE remote = ? AND zone != ?", (self._remote, SWEPT))
                    self._db.execute("INSERT INTO known VALUES (?, ?, ?, '', ?)", (*where, self._clock()))
        except sqlite3.Error:
            self._blind = True

    def close(self) -> None:
        with self._lock, suppress(sqlite3.Error):
            if self._opened is not None:
                with self._opened:
                    self._opened.execute("DELETE FROM known WHERE time < ?", (self._clock() - FRESH,))
                self._opened.close()

    @property
    def _db(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = _open(self._database)
        return self._opened


def _open(database: Path) -> sqlite3.Connection:
    try:
        return _connect(database)
    except sqlite3.DatabaseError:
        with suppress(OSError):
            database.unlink(missing_ok=True)
        try:
            return _connect(database)
        except sqlite3.DatabaseError:
            return _connect(Path(":memory:"))


def _connect(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, timeout=2, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute(_TABLE)
    connection.commit()
    return connection
