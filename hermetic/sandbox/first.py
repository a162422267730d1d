"""The first process of a sandbox, whose death is the death of everything in it.

bubblewrap leaves as soon as the command has. What the command left behind is killed a moment later,
and until then it can write to the outputs. So hb waits for the namespace's first process, which the
kernel lets go only after all others; being the nearest subreaper, hb inherits it, and with it the
count of the time and memory that everything in the sandbox used.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
from dataclasses import dataclass
from functools import cache

PR_SET_CHILD_SUBREAPER = 36
BLOCK = 512  # bytes; what getrusage(2) counts on Linux, whatever the device


@dataclass(frozen=True, slots=True)
class Usage:
    cpu: float = 0.0  # user + system seconds
    max_rss: int = 0  # bytes, of the largest process
    read: int = 0  # bytes from devices
    written: int = 0  # bytes to devices


@dataclass(slots=True)
class FirstProcess:
    """``status``: the reading end of bubblewrap's ``--json-status-fd``, closed by ``wait``."""

    status: int
    pid: int = 0
    pidfd: int = -1
    said: bytes = b""  # after the first line

    @classmethod
    def of(cls, status: int) -> FirstProcess:
        """Waits until bubblewrap has made the namespaces; there is none if it failed before."""
        said = b""
        while b"\n" not in said and (data := os.read(status, 4096)):
            said += data
        line, _, rest = said.partition(b"\n")
        if line:
            pid = int(json.loads(line)["child-pid"])
            try:
                return cls(status, pid, os.pidfd_open(pid), rest)
            except ProcessLookupError:
                pass  # it failed already, and bubblewrap has taken note
        return cls(status, said=rest)

    def wait(self) -> tuple[Usage, bool]:
        """After bubblewrap itself has ended: what was used, and whether the command was started at all."""
        usage = self._usage()
        while data := os.read(self.status, 4096):
            self.said += data
        os.close(self.status)
        if self.pidfd >= 0:
            os.close(self.pidfd)
        return usage, b'"exit-code"' in self.said

    def _usage(self) -> Usage:
        if self.pidfd < 0:
            return Usage()
        readable(self.pidfd)
        try:
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)  # ours: its number is not another's by now
            usage = os.wait4(self.pid, 0)[2]
        except ChildProcessError:  # bubblewrap saw it fail, or another subreaper stands between
            return Usage()
        cpu = usage.ru_utime + usage.ru_stime
        return Usage(cpu, usage.ru_maxrss * 1024, usage.ru_inblock * BLOCK, usage.ru_oublock * BLOCK)


def readable(descriptor: int, seconds: float | None = None) -> bool:
    """Wait until there is something to read, or the process of a pidfd has ended; for ever if not told."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


@cache
def adopt_orphans() -> None:
    """Make this process the one that sandboxes' first processes are handed to."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
