"""How much memory there is, and how much a tree of processes has. Read from /proc; nothing is believed twice.

What can be had is the least of what the kernel calls available and what the cgroups around this process
leave. Page cache counts as free where it is only cache: the kernel takes it back.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
UNLIMITED = 1 << 60  # a cgroup's limit beyond this is none


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    total: int
    available: int


def machine_memory(proc: Path = PROC) -> Memory:
    """Of the whole machine; zeros when it is not said."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in (proc / "meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(rest.split()[0]) << 10
    return Memory(found.get("MemTotal", 0), found.get("MemAvailable", 0))


def tightest(folders: Iterator[Path] | list[Path]) -> Memory | None:
    """The cgroup with the least room among ``folders`` of either version; None when none has a limit."""
    best: Memory | None = None
    for folder in folders:
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        usage = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if 0 < limit < UNLIMITED:
            cache = sum(stat(folder, ("inactive_file", "active_file", "total_inactive_file", "total_active_file")))
            room = Memory(limit, max(limit - max(usage - cache, 0), 0))
            if best is None or room.available < best.available:
                best = room
    return best


def stat(folder: Path, names: tuple[str, ...]) -> list[int]:
    """Fields of a memory.stat file, those that are there."""
    found = []
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in names:
                found.append(int(value))
    return found


def stalled(proc: Path = PROC) -> float:
    """Share of the last ten seconds in which some process waited for memory; 0 without PSI."""
    try:
        some = (proc / "pressure" / "memory").read_text().splitlines()[0].split()
        return float(dict(word.split("=") for word in some[1:])["avg10"]) / 100
    except (OSError, ValueError, IndexError, KeyError):
        return 0.0


def tree_memory(pid: int, proc: Path = PROC) -> int:
    """Bytes of its own that a process and all below it have: no file's pages, nothing counted twice but
    what they share after a fork."""
    return sum(_own(one, proc) for one in family(pid, proc))


def family(pid: int, proc: Path = PROC) -> list[int]:
    """A process and its descendants. What dies meanwhile is left out."""
    found, pending = [], [pid]
    while pending:
        one = pending.pop()
        found.append(one)
        with suppress(OSError, ValueError):
            for thread in os.listdir(proc / str(one) / "task"):
                pending += map(int, (proc / str(one) / "task" / thread / "children").read_text().split())
    return found


def signal_family(pid: int, number: signal.Signals) -> None:
    for one in family(pid):
        with suppress(OSError):
            os.kill(one, number)


def _own(pid: int, proc: Path) -> int:
    total = 0
    with suppress(OSError, ValueError):
        for line in (proc / str(pid) / "status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) << 10
    return total


def _number(path: Path) -> int:
    """0 for what is not there or no number ("max")."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
