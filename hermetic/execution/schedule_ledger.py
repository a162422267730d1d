"""What steps took in earlier builds, below the store: peak memory, CPU, wall time.

Kept under label, mnemonic and settings, without any content, so that an edit forgets nothing. Guarantees:
a failure, a timeout or a kill only ever raises what is known; a success lowers it slowly; a ledger that is
lost, damaged or locked is none, and never fails a build.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.action import Action
from hermetic.execution.schedule_order import step_of
from hermetic.proto import hb_pb2

if TYPE_CHECKING:
    import sqlite3

ASKED = 500  # steps of one question to the database
KEPT = 0.75  # share of an old peak that a smaller one leaves


@dataclass(frozen=True, slots=True)
class Learnt:
    """Bytes and seconds. ``jobs``: how many it was offered when it had this peak."""

    peak: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    jobs: int = 1

    @property
    def parallel(self) -> float:
        """CPUs it kept busy."""
        return self.cpu / self.wall if self.wall > 0 else 1.0

    def after(self, usage: hb_pb2.Usage, good: bool) -> Learnt:
        """With one more run."""
        higher = usage.peak > self.peak
        if not good:
            wall = max(self.wall, usage.wall)
            return Learnt(max(self.peak, usage.peak), max(self.cpu, usage.cpu), wall, self.jobs)
        peak = usage.peak if higher or not self.peak else round(KEPT * self.peak + (1 - KEPT) * usage.peak)
        first = not self.wall
        cpu, wall = (usage.cpu, usage.wall) if first else ((self.cpu + usage.cpu) / 2, (self.wall + usage.wall) / 2)
        return Learnt(peak, cpu, wall, max(usage.jobs, 1) if higher else self.jobs)


Step = tuple[str, str]  # LABEL#MNEMONIC, settings


def step_and_settings(action: Action) -> Step:
    return step_of(action.id), ",".join(f"{name}={value}" for name, value in action.settings)


class Ledger:
    """Thread-safe; ``close`` writes what is new, in one short transaction, as do kills for memory at once."""

    def __init__(self, database: Path) -> None:
        self._lock = threading.Lock()
        self._known: dict[Step, Learnt] = {}
        self._fresh: set[Step] = set()
        self._db = _connect(database)

    def load(self, steps: Collection[str]) -> dict[str, float]:
        """Remember what is known of these steps. Returns step → seconds, the most of any settings."""
        import sqlite3

        wanted = sorted(set(steps))
        found: dict[str, float] = {}
        with self._lock:
            for place in range(0, len(wanted) if self._db else 0, ASKED):
                some = wanted[place : place + ASKED]
                marks = ",".join("?" * len(some))
                query = f"SELECT step, settings, peak, cpu, wall, jobs FROM usage WHERE step IN ({marks})"
                with suppress(sqlite3.DatabaseError):
                    for step, settings, *values in self._db.execute(query, some) if self._db else ():
                        self._known.setdefault((step, settings), Learnt(*values))
            for (step, _), learnt in self._known.items():
                found[step] = max(found.get(step, 0.0), learnt.wall)
        return found

    def find(self, step: Step) -> Learnt | None:
        with self._lock:
            return self._known.get(step)

    def learn(self, step: Step, usage: hb_pb2.Usage, *, good: bool) -> None:
        with self._lock:
            self._known[step] = self._known.get(step, Learnt()).after(usage, good)
            self._fresh.add(step)
            if not good:
                self._write()

    def close(self) -> None:
        with self._lock:
            self._write()
            if self._db is not None:
                self._db.close()
                self._db = None

    def _write(self) -> None:
        import sqlite3

        rows = []
        for step in self._fresh:
            one = self._known[step]
            rows.append((*step, one.peak, one.cpu, one.wall, one.jobs))
        if self._db is None or not rows:
            return
        with suppress(sqlite3.DatabaseError), self._db:
            self._db.executemany("INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._fresh.clear()


def _connect(database: Path) -> sqlite3.Connection | None:
    import sqlite3

    for _ in range(2):
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(database, timeout=1.0, check_same_thread=False)
            db.execute("PRAGMA synchronous=OFF")
            db.execute(
                "CREATE TABLE IF NOT EXISTS usage (step TEXT, settings TEXT, peak INTEGER, cpu REAL,"
                " wall REAL, jobs INTEGER, PRIMARY KEY (step, settings)) WITHOUT ROWID"
            )
            return db
        except sqlite3.OperationalError:  # read-only, or busy
            return None
        except sqlite3.DatabaseError:
            with suppress(OSError):
                database.unlink()
        except OSError:
            return None
    return None
