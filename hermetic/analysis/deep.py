"""Room for long chains of dependencies: analysis follows them by recursion, some frames a target."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STACK = 256 << 20  # bytes of address space; memory is used only as deep as it goes
FRAMES = 100_000


def with_deep_stack(function: Callable[[], T]) -> T:
    """``function()``, called where it may recurse deeply. Raises what it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        # The kernel sends a clock of CPU time to the thread that uses it, and only the main one can answer.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    frames, stack = sys.getrecursionlimit(), threading.stack_size(STACK)
    sys.setrecursionlimit(max(frames, FRAMES))
    try:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(frames)
        threading.stack_size(stack)
    if errors:
        raise errors[0]
    return results[0]
