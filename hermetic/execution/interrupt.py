"""Ctrl-C twice: the first ends the build in order, the second ends hb at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def impatient() -> Iterator[None]:
    """While this lasts, Ctrl-C ends the process with exit code 8. Sandboxes die with it, and a later
    build clears its scratch folder away. Only the main thread may set signal handlers; elsewhere
    nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    os._exit(8)
