"""Limits of the process that runs BUILD code: memory, CPU time, file sizes, a deadline. Set once, never raised."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType

from hermetic.errors import BuildFileError, Location


def confine(memory: int, cpu_seconds: int) -> None:
    """``memory``: bytes of address space; ``cpu_seconds``: after which the kernel ends the process."""
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 64 << 20),
    ):
        _, hard = resource.getrlimit(what)
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (value, value))


def at_deadline(seconds: float, stop: Callable[[BuildFileError], None]) -> None:
    """After ``seconds`` of CPU time call ``stop``, in the main thread, with an error that names the line of
    BUILD code running then. CPU time, because a busy machine is no fault of the code, which has nothing to
    wait for. A single endless call into C is out of its reach; the kernel's limits are not."""

    def late(*_: object) -> None:
        stop(
            BuildFileError(
                f"loading the BUILD files took longer than {seconds:.0f} s of CPU time; it was here",
                location=_running(),
                hint="look for a loop that never ends, or raise load_deadline in [tool.hb]",
            )
        )

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _running() -> Location | None:
    """The innermost line of BUILD code in any thread: its file names are relative, Python's are not."""
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            path = frame.f_code.co_filename
            if path.endswith(".py") and not os.path.isabs(path):
                return Location(path, frame.f_lineno)
            frame = frame.f_back
    return None
