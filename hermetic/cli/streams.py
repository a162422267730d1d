"""Standard streams that cannot break a command: closed ones, readers that went away, encodings that lack characters."""

from __future__ import annotations

import io
import os
import sys


def open_missing() -> None:
    """A stream closed by the caller becomes /dev/null, so that no file hb opens takes its number and
    receives what was meant for people."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path is given back as the bytes it is; where the encoding has not its characters, escaped.
        whole = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if whole else "backslashreplace")


def say(text: str) -> None:
    """A line for people, on stderr. Whether somebody reads it changes nothing."""
    from hermetic.plainly import sayable

    try:
        print(sayable(text, sys.stderr.encoding), file=sys.stderr, flush=True)
    except OSError:
        abandon(2)


def finish() -> bool:
    """Flush both streams; False when the reader of stdout went away. What is still buffered when Python
    ends would turn the exit code into 120."""
    try:
        sys.stderr.flush()
    except OSError:
        abandon(2)
    try:
        sys.stdout.flush()
    except OSError:
        abandon(1)
        return False
    return True


def abandon(number: int) -> None:
    """Point a descriptor at /dev/null, so that what is still buffered can be flushed at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
