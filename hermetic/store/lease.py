"""Who uses a store: locks that the kernel drops with their owner.

Every command that builds holds a shared lock; what removes things from the store needs it alone. So nothing
a running build uses is ever removed, and a killed process leaves nothing to clean up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hermetic.errors import StoreError

LOCK = "use.lock"


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Keep the store as it is while the block runs; waits while somebody cleans up."""
    with _locked(root, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Have the store alone. Raises StoreError when somebody uses it."""
    try:
        with _locked(root, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield
    except BlockingIOError:
        raise StoreError(f"the store {root} is in use by another hb", hint="try again when it is done") from None


@contextmanager
def _locked(root: Path, how: int) -> Iterator[None]:
    handle = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
