"""One control group for each sandbox: its memory, its limit, its kills; frozen and thawed as a whole.

Guarantees: a group is of one sandbox and is gone when that has ended; what a killed hb left goes with the
next one; where the machine allows no groups, the process tree is measured instead and nothing else changes.

Either version of cgroups will do. On a hybrid machine memory is counted by version 1 and freezing is done
by version 2, which also kills what is frozen.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hermetic.sandbox.memory import PROC, family, signal_family, stat, tree_memory

PREFIX = "hb-"
OWN = ("anon", "shmem", "total_rss", "total_shmem")  # fields of memory.stat: version 2, version 1
ROUNDS = 5  # looks for processes that were born while others were moved
PATIENCE = 1.0  # seconds that a group's last processes may take to vanish


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
    freezer, made when it is first needed: most sandboxes are never frozen, and joining costs."""

    pid: int
    memory_folder: Path | None
    freezer: Path | None
    now: int = 0
    peak: int = 0
    frozen: bool = False

    def look(self) -> None:
        self.now = sum(stat(self.memory_folder, OWN)) if self.memory_folder else tree_memory(self.pid)
        self.peak = max(self.peak, self.now)

    def oom_kills(self) -> int | None:
        if self.memory_folder is None:
            return None
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError, ValueError):
                for line in (self.memory_folder / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return None

    def freeze(self, on: bool) -> None:
        self.frozen = on
        if self.freezer is None or not self._gathered(self.freezer):
            signal_family(self.pid, signal.SIGSTOP if on else signal.SIGCONT)
        elif not _write(self.freezer / "cgroup.freeze", "1" if on else "0"):
            _write(self.freezer / "freezer.state", "FROZEN" if on else "THAWED")

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
            inside.update(one for one in outside if _write(folder / "cgroup.procs", str(one)))
        return bool(inside)

    def close(self) -> None:
        for folder in {self.memory_folder, self.freezer} - {None}:
            assert folder is not None
            _remove(folder)


@dataclass(slots=True)
class Groups:
    """Makes groups. ``memory`` and ``freezer``: folders in which a group may be made, if any."""

    memory: Path | None = None
    freezer: Path | None = None
    _made: int = 0
    _name: str = field(default_factory=lambda: f"{PREFIX}{os.getpid()}-{time.monotonic_ns():x}")

    @staticmethod
    def find(proc: Path = PROC) -> Groups:
        """What this machine and this user may do. Leaves nothing behind."""
        second, mounts = _hierarchies(proc)
        memory = freezer = None
        if second is not None and _usable(second):
            freezer = second
            if "memory" in _read(second / "cgroup.controllers").split() and _enable(second):
                memory = second
        if memory is None and "memory" in mounts and _usable(mounts["memory"]):
            memory = mounts["memory"]
        if freezer is None and "freezer" in mounts and _usable(mounts["freezer"]):
            freezer = mounts["freezer"]
        for folder in {memory, freezer} - {None}:
            assert folder is not None
            _sweep(folder)
        return Groups(memory, freezer)

    def enclosing(self) -> Iterator[Path]:
        """The memory groups around this process, innermost first."""
        folder = self.memory
        while folder is not None and (folder / "cgroup.procs").exists():
            yield folder
            folder = folder.parent

    def make(self, pid: int, limit: int = 0) -> Group:
        """A group with the process ``pid``, which has no children yet. ``limit``: bytes; 0 for none."""
        self._made += 1
        name = f"{self._name}-{pid}-{self._made}"
        memory = self._join(self.memory, name, pid)
        freezer = self.freezer / name if self.freezer is not None else None
        if memory is not None and limit and not _write(memory / "memory.max", str(limit)):
            _write(memory / "memory.limit_in_bytes", str(limit))
        if memory is None and freezer is None:
            return TreeGroup(pid)
        return KernelGroup(pid, memory, freezer)

    @staticmethod
    def _join(parent: Path | None, name: str, pid: int) -> Path | None:
        if parent is None:
            return None
        folder = parent / name
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            if _write(folder / "cgroup.procs", str(pid)):
                return folder
        _remove(folder)
        return None


def _hierarchies(proc: Path) -> tuple[Path | None, dict[str, Path]]:
    """This process's group in version 2, and in each controller of version 1."""
    points: dict[str, tuple[Path, str]] = {}
    for line in _read(proc / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        if kind[:1] == ["cgroup2"]:
            points[""] = Path(words[4]), words[3]
        elif kind[:1] == ["cgroup"]:
            points.update({name: (Path(words[4]), words[3]) for name in kind[2].split(",")})
    found: dict[str, Path] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in points:
                mount, root = points[name]
                inside = path.removeprefix(root) if root != "/" else path
                place = mount / inside.lstrip("/")
                found[name] = place if place.is_dir() else mount
    return found.pop("", None), found


def _usable(folder: Path) -> bool:
    """Whether a group can be made here and a process put into it."""
    probe = folder / f"{PREFIX}probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError:
        return False
    try:
        return os.access(probe / "cgroup.procs", os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)
    finally:
        _remove(probe)


def _enable(folder: Path) -> bool:
    """Let groups below have the memory controller; the kernel refuses when processes live beside them."""
    if "memory" in _read(folder / "cgroup.subtree_control").split():
        return True
    return _write(folder / "cgroup.subtree_control", "+memory")


def _sweep(folder: Path) -> None:
    """Empty groups of processes that are no more."""
    for left in folder.glob(f"{PREFIX}*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not (PROC / owner).exists():
            with suppress(OSError):
                left.rmdir()


def _remove(folder: Path) -> None:
    """A group goes when its last process has: a moment after its parent learns of the end."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > until:
                return
            time.sleep(0.001)


def _write(path: Path, text: str) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(handle, text.encode())
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
