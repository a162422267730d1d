"""The file-state index: path → digest, believed as long as the file's stat record is the same.

Guarantees: a digest is never older than the file. An edit that keeps size and times can only happen
within the tick of the file system's clock in which the file was last seen, so a record taken that
soon after a file's change is never believed again: the file is hashed anew. The index is a cache:
when it is lost or damaged it is made again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.digest import Digest

if TYPE_CHECKING:
    import sqlite3

TICK_NS = 20_000_000  # two ticks of the coarsest kernel clock in use (100 Hz)


class FileStates:
    """Digests of files by absolute path. Thread-safe; ``close`` writes the index, in one short transaction:
    hb processes in one workspace never wait for each other's builds."""

    def __init__(self, database: Path) -> None:
        self._lock = threading.Lock()
        self._fresh: dict[str | bytes, tuple[bytes, str, int]] = {}  # not in the database yet
        database.parent.mkdir(parents=True, exist_ok=True)
        import sqlite3

        try:
            self._db = _connect(database)
        except sqlite3.DatabaseError:
            database.unlink(missing_ok=True)
            self._db = _connect(database)

    def digest(self, path: Path) -> Digest:
        """The digest of a regular file (symlinks are followed)."""
        return self.digests([path])[0]

    def digests(self, paths: Iterable[Path]) -> list[Digest]:
        return [self._one(str(path)) for path in paths]

    def close(self) -> None:
        import sqlite3

        with self._lock:
            try:
                with self._db:
                    rows = [(path, *values) for path, values in self._fresh.items()]
                    self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
            except sqlite3.OperationalError:
                pass  # another process writes, or the disk is full: the next build looks again
            self._db.close()

    def _one(self, path: str) -> Digest:
        state, name = _fingerprint(os.stat(path)), _named(path)
        with self._lock:
            row = self._fresh.get(name)
            if row is None:
                row = self._db.execute("SELECT state, hash, size FROM files WHERE path = ?", (name,)).fetchone()
        if row is not None and row[0] == state:
            return Digest(row[1], row[2])
        with open(path, "rb") as stream:
            before = os.fstat(stream.fileno())
            digest = Digest.of_file(stream)
            after = os.fstat(stream.fileno())
        settled = time.time_ns() - max(after.st_mtime_ns, after.st_ctime_ns) > TICK_NS
        if settled and _fingerprint(before) == _fingerprint(after):
            with self._lock:
                self._fresh[name] = (_fingerprint(after), digest.hash, digest.size)
        return digest


def _named(path: str) -> str | bytes:
    """SQLite's text is UTF-8, and a path need not be."""
    return path if path.isascii() else os.fsencode(path)


def _fingerprint(found: os.stat_result) -> bytes:
    import xxhash

    record = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
    return xxhash.xxh3_128_digest(",".join(map(str, record)).encode())


def _connect(database: Path) -> sqlite3.Connection:
    import sqlite3

    db = sqlite3.connect(database, check_same_thread=False, timeout=30)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute(
        "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, state BLOB, hash TEXT, size INTEGER) WITHOUT ROWID"
    )
    return db
