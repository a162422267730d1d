"""One control group for each sandbox: its memory, its limit, its kills; frozen and thawed as a whole.

Guarantees: a group is of one sandbox at a time, and gone after ``Groups.close``; what a killed hb left goes
with the next one; where the machine allows no groups, the process tree is measured instead and nothing else
changes.

Either version of cgroups will do. On a hybrid machine memory is counted by version 1 and freezing is done
by version 2, which also kills what is frozen.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hermetic.sandbox.berth import Berth, Berths
from hermetic.sandbox.cgroup_files import PREFIX, enable, hierarchies, kills_in, read, remove, sweep, usable, write
from hermetic.sandbox.memory import PROC, family, signal_family, stat, tree_memory

OWN = ("anon", "shmem", "total_rss", "total_shmem")  # fields of memory.stat: version 2, version 1
ROUNDS = 5  # looks for processes that were born while others were moved


class Group(Protocol):
    """What a sandbox's processes are counted in."""

    now: int  # bytes of their own that the processes had when last looked at
    peak: int  # and at most, at such a look
    frozen: bool

    def look(self) -> None: ...

    def oom_kills(self) -> int | None:
        """How many of them the kernel killed for memory; None when only the machine's count is known."""
        ...

    def freeze(self, on: bool) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class TreeGroup:
    """No group at all: the processes below ``pid``."""

    pid: int
    now: int = 0
    peak: int = 0
    frozen: bool = False

    def look(self) -> None:
        self.now = tree_memory(self.pid)
        self.peak = max(self.peak, self.now)

    def oom_kills(self) -> int | None:
        return None

    def freeze(self, on: bool) -> None:
        self.frozen = on
        signal_family(self.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def close(self) -> None: ...


@dataclass(slots=True)
class KernelGroup:
    """``memory_folder``: of the memory controller; ``freezer``: a group of version 2, or of version 1's
    freezer, made when it is first needed: most sandboxes are never frozen, and joining costs. ``berth``:
    what has the memory's folder from one sandbox to the next, if anything does."""

    pid: int
    memory_folder: Path | None
    freezer: Path | None
    berth: Berth | None = None
    now: int = 0
    peak: int = 0
    frozen: bool = False

    def look(self) -> None:
        self.now = sum(stat(self.memory_folder, OWN)) if self.memory_folder else tree_memory(self.pid)
        self.peak = max(self.peak, self.now)

    def oom_kills(self) -> int | None:
        if self.memory_folder is None:
            return None
        return self.berth.new_kills() if self.berth is not None else kills_in(self.memory_folder)

    def freeze(self, on: bool) -> None:
        self.frozen = on
        if self.freezer is None or not self._gathered(self.freezer):
            signal_family(self.pid, signal.SIGSTOP if on else signal.SIGCONT)
        elif not write(self.freezer / "cgroup.freeze", "1" if on else "0"):
            write(self.freezer / "freezer.state", "FROZEN" if on else "THAWED")

    def _gathered(self, folder: Path) -> bool:
        """Whether all processes are in ``folder``; new ones may come while it is done."""
        if folder == self.memory_folder:
            return True
        try:
            folder.mkdir(exist_ok=True)
        except OSError:
            return False
        inside: set[int] = set()
        for _ in range(ROUNDS):
            outside = [one for one in family(self.pid) if one not in inside]
            if not outside:
                return True
            inside.update(one for one in outside if write(folder / "cgroup.procs", str(one)))
        return bool(inside)

    def close(self) -> None:
        kept = self.memory_folder if self.berth is not None else None
        for folder in {self.memory_folder, self.freezer} - {None, kept}:
            assert folder is not None
            remove(folder)
        if self.berth is not None:
            self.berth.leave()


@dataclass(slots=True)
class Groups:
    """Makes groups. ``memory`` and ``freezer``: folders in which a group may be made, if any."""

    memory: Path | None = None
    freezer: Path | None = None
    _made: itertools.count[int] = field(default_factory=itertools.count)
    _name: str = field(default_factory=lambda: f"{PREFIX}{os.getpid()}-{time.monotonic_ns():x}")
    _berths: Berths | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and Berths.possible(self.memory):
            self._berths = Berths(self.memory, self._name)

    @staticmethod
    def find(proc: Path = PROC) -> Groups:
        """What this machine and this user may do. Leaves nothing behind."""
        second, mounts = hierarchies(proc)
        memory = freezer = None
        if second is not None and usable(second):
            freezer = second
            if "memory" in read(second / "cgroup.controllers").split() and enable(second):
                memory = second
        if memory is None and "memory" in mounts and usable(mounts["memory"]):
            memory = mounts["memory"]
        if freezer is None and "freezer" in mounts and usable(mounts["freezer"]):
            freezer = mounts["freezer"]
        for folder in {memory, freezer} - {None}:
            assert folder is not None
            sweep(folder)
        return Groups(memory, freezer)

    def enclosing(self) -> Iterator[Path]:
        """The memory groups around this process, innermost first."""
        folder = self.memory
        while folder is not None and (folder / "cgroup.procs").exists():
            yield folder
            folder = folder.parent

    def berth(self, limit: int = 0) -> Berth | None:
        """Where a sandbox is to be started, if it can be born in its group. ``limit``: bytes; 0 for none."""
        return self._berths.take(limit) if self._berths is not None else None

    def make(self, pid: int, limit: int = 0, berth: Berth | None = None) -> Group:
        """The group of the process ``pid``: the ``berth`` where it was started, or a new one, to which it is
        moved as long as it has no children."""
        name = f"{self._name}-{pid}-{next(self._made)}"
        freezer = self.freezer / name if self.freezer is not None else None
        if berth is not None:
            return KernelGroup(pid, berth.folder, freezer, berth)
        memory = self._join(self.memory, name, pid)
        if memory is not None and limit and not write(memory / "memory.max", str(limit)):
            write(memory / "memory.limit_in_bytes", str(limit))
        if memory is None and freezer is None:
            return TreeGroup(pid)
        return KernelGroup(pid, memory, freezer)

    def close(self) -> None:
        """Nothing runs any more: what is kept from one sandbox to the next goes."""
        if self._berths is not None:
            self._berths.close()

    @staticmethod
    def _join(parent: Path | None, name: str, pid: int) -> Path | None:
        if parent is None:
            return None
        folder = parent / name
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            if write(folder / "cgroup.procs", str(pid)):
                return folder
        remove(folder)
        return None
