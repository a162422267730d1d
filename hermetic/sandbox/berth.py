"""Sandboxes that are born in their control group instead of being moved there.

Moving a process waits for a grace period of the kernel (12 ms, measured: as long as all the rest of hb's work
for an action); being forked in a group costs nothing. In version 1 each thread may be in a group of its own.
So every group has a thread of hb in it, which does nothing but start sandboxes, and is used for one after
the other. hb's own memory is not counted there: that goes by the group of a process's first thread, as does
the choice of what is killed. (Version 2 knows no such threads for memory; there processes are moved.)

Guarantees: what is started is counted and limited from its first instruction, with all its descendants; a
berth is of one sandbox at a time; nothing else of hb runs there.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hermetic.sandbox.cgroup_files import kills_in, remove, write

T = TypeVar("T")
UNLIMITED = -1  # as version 1 writes it


class Berth:
    """``folder``: the group. ``leave`` it when the sandbox has ended."""

    def __init__(self, folder: Path, leave: Callable[[Berth], None]) -> None:
        self.folder = folder
        self._leave = leave
        self._limit = UNLIMITED
        self._kills = 0
        self._thread = ThreadPoolExecutor(1, "hb-berth")

    def enter(self) -> bool:
        """Put the thread into the group; the only time that anything is moved."""
        return self.start(lambda: write(self.folder / "tasks", str(threading.get_native_id())))

    def start(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the thread: what it forks is in the group, and may ask to die with this thread,
        which lives until ``close``."""
        return self._thread.submit(work).result()

    def limit(self, size: int) -> None:
        """Bytes; 0 for none."""
        wanted = size or UNLIMITED
        if wanted != self._limit and write(self.folder / "memory.limit_in_bytes", str(wanted)):
            self._limit = wanted

    def new_kills(self) -> int:
        """Processes that the kernel killed here for memory since this was last asked."""
        before, self._kills = self._kills, kills_in(self.folder) or 0
        return self._kills - before

    def leave(self) -> None:
        self._leave(self)

    def close(self) -> None:
        self._thread.shutdown()
        remove(self.folder)


@dataclass(slots=True)
class Berths:
    """As many berths below ``parent`` as sandboxes run at the same time; ``name`` begins their names."""

    parent: Path
    name: str
    _free: list[Berth] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def possible(parent: Path) -> bool:
        """Whether single threads may be put into groups here: files of version 1."""
        return (parent / "tasks").exists() and (parent / "memory.limit_in_bytes").exists()

    def take(self, limit: int) -> Berth | None:
        """A free one, or one that is made; None when that is refused."""
        with self._lock:
            berth = self._free.pop() if self._free else None
        berth = berth or self._make()
        if berth is not None:
            berth.limit(limit)
        return berth

    def close(self) -> None:
        """No sandbox runs any more. Berths taken later are new ones."""
        with self._lock:
            free, self._free = self._free, []
        for berth in free:
            berth.close()

    def _make(self) -> Berth | None:
        folder = self.parent / f"{self.name}-b{next(self._count)}"
        with suppress(OSError):
            folder.mkdir()
            berth = Berth(folder, self._back)
            if berth.enter():
                return berth
            berth.close()
        return None

    def _back(self, berth: Berth) -> None:
        with self._lock:
            self._free.append(berth)
