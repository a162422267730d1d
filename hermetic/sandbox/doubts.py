"""What the machine did while a command ran that casts doubt on its outputs, whatever its exit code says.

Guarantees: a result is doubted when the kernel killed a process for memory, the disk or the machine's table of
open files was full at the end, or the clock was set meanwhile; the caller does not store it. Every command may
have ``FILES`` open files per process, on every machine, so that a machine's own limit never shows in an output.

What cannot be seen from outside, without tracing every system call: a disk or table of files that was full in
between and has room again, a clock that was set and set back, and a command that met its own limit of open files
and went on. The last is at least the same everywhere: it depends on the command, no longer on the machine.

Slewing moves all clocks alike and is not seen; neither is a machine that sleeps, because CLOCK_BOOTTIME counts
that. Sources: clock_gettime(2), getrlimit(2), proc_sys_fs(5).
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hermetic.errors import SandboxUnavailable

FILES = 4096  # the kernel's own default for the hard limit: there is no machine that has to be changed for it
LOW_SPACE = 1 << 20  # bytes: less free space than this at the end casts doubt on the outputs
STEP = 0.01  # seconds; two clocks cannot be read at the same moment
FULL = 0.99  # of the machine's table of open files


class Machine(Protocol):
    """What is asked of the machine before and after a command."""

    def oom_kills(self) -> int:
        """Processes the kernel has killed for memory since it started."""
        ...

    def clocks(self) -> tuple[float, float]:
        """Seconds since 1970 and seconds since the start, at the same moment."""
        ...

    def open_files(self) -> tuple[int, int]:
        """How many there are on the machine, and how many there may be."""
        ...

    def has_space(self, folder: Path) -> bool: ...


class Linux:
    def oom_kills(self) -> int:
        try:
            with open("/proc/vmstat", "rb") as stream:
                return next((int(line.split()[1]) for line in stream if line.startswith(b"oom_kill ")), 0)
        except OSError:
            return 0

    def clocks(self) -> tuple[float, float]:
        return min(_readings(), key=lambda one: one[0])[1]

    def open_files(self) -> tuple[int, int]:
        try:
            with open("/proc/sys/fs/file-nr", "rb") as stream:
                there, _, limit = map(int, stream.read().split())
        except (OSError, ValueError):
            return 0, 1
        return there, limit

    def has_space(self, folder: Path) -> bool:
        space = os.statvfs(folder)
        return space.f_bavail * space.f_frsize >= LOW_SPACE and (not space.f_files or bool(space.f_favail))


def _readings() -> list[tuple[float, tuple[float, float]]]:
    """A few (how far apart the clocks were read, clocks): the process may have to wait in between."""
    found = []
    for _ in range(3):
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime(time.CLOCK_REALTIME)
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        found.append((after - before, (wall, (before + after) / 2)))
    return found


@dataclass(frozen=True, slots=True)
class Before:
    """The machine when a command started."""

    machine: Machine
    kills: int
    ahead: float  # seconds since 1970 less seconds since the start

    @classmethod
    def now(cls, machine: Machine) -> Before:
        wall, boot = machine.clocks()
        return cls(machine, machine.oom_kills(), wall - boot)

    def killed(self) -> bool:
        """Whether the kernel killed any process for memory since."""
        return self.machine.oom_kills() > self.kills

    def doubt(self, work: Path, oom: bool) -> str:
        """Why the outputs in ``work`` must not be stored, or "". ``oom``: a process of the command was killed."""
        if oom:
            return "the kernel killed a process for memory while it ran"
        if not self.machine.has_space(work):
            return "the disk was full while it ran"
        there, limit = self.machine.open_files()
        if there >= FULL * limit:
            return "the machine had no more open files to give while it ran"
        wall, boot = self.machine.clocks()
        if abs(wall - boot - self.ahead) > STEP:
            return f"the clock was set by {wall - boot - self.ahead:+.2f} s while it ran"
        return ""


def require_files() -> None:
    """Raises SandboxUnavailable when this process may not give its children ``FILES`` open files."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard not in (-1, resource.RLIM_INFINITY) and hard < FILES:
        hint = f"raise the hard limit: ulimit -Hn {FILES}, or LimitNOFILE= of the service that runs hb"
        raise SandboxUnavailable(f"a process may open {hard} files here, and a command is promised {FILES}", hint=hint)


def give_files(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (FILES, FILES))
