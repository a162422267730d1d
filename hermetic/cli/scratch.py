"""A command's folder for its actions, on the store's file system.

Guarantees: the folder goes when the command ends; what a killed command left goes when the next one
starts. A folder in use is known by a lock that the kernel drops with the process, so no process id is
ever trusted, and several machines' processes may share a store. What killed writers left on its way into the
store has no lock; it goes when it is a day old.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hermetic.store.stage import remove_tree

NEW = "new-"  # not locked yet
RUN = "run-"  # in use, or left behind
KEPT = "kept-"  # by --sandbox-debug: for the user to remove
STALE = 24 * 3600  # seconds; nothing takes so long to be written


@contextmanager
def scratch_folder(store: Path, *, keep: bool = False) -> Iterator[Path]:
    work = store / "work"
    work.mkdir(exist_ok=True)
    _sweep(work)
    _sweep_incoming(store / "tmp")
    made = Path(tempfile.mkdtemp(prefix=NEW, dir=work))
    lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = made.with_name((KEPT if keep else RUN) + made.name.removeprefix(NEW))
        made.rename(folder)
        try:
            yield folder
        finally:
            if not keep:
                remove_tree(folder)
    finally:
        os.close(lock)


def _sweep(work: Path) -> None:
    for folder in work.glob(f"{RUN}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(folder)
        except OSError:
            pass  # in use, or another user's
        finally:
            os.close(lock)


def _sweep_incoming(folder: Path) -> None:
    """``ctime``, because files on their way in may have any other time."""
    before = time.time() - STALE
    for path in folder.iterdir() if folder.exists() else ():
        with suppress(OSError):  # another process was faster, or it is another user's
            if path.lstat().st_ctime >= before:
                continue
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink()
