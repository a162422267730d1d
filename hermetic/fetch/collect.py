"""What a worker left behind is taken into the store, by descriptors, after the worker is dead.

Guarantees: no link the worker made is followed, wherever it lies; only regular files, directories and
symbolic links are taken; the worker cannot change a file between check and copy, because its whole
process namespace is gone by then.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hermetic.digest import Digest
from hermetic.errors import ActionError, FetchError
from hermetic.store.ingest import ingest_open
from hermetic.store.protocols import BlobStore

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MAX_DEPTH = 256


def take_file(scratch: Path, path: Path, store: BlobStore) -> Digest:
    """Store the regular file at ``path``, which must lie below ``scratch``. A file with one name moves
    into the store, so that a wheel of 3 GB is written once."""
    fd = _open_below(scratch, path, _FILE)
    with os.fdopen(fd, "rb") as stream:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise FetchError(f"the fetcher answered with something that is not a file: {path.name}")
        if info.st_nlink == 1 and info.st_uid == os.geteuid():
            return store.put_file(path, take=True)
        return store.put_stream(stream)


def take_tree(scratch: Path, path: Path, store: BlobStore) -> Digest:
    """Store the directory at ``path`` (below ``scratch``); the root of its tree."""
    try:
        return ingest_open(_open_below(scratch, path, _DIR), store, special=0, depth=MAX_DEPTH)
    except ActionError as error:
        raise FetchError(f"the fetcher answered with a tree that cannot be taken: {error.message}") from error


def _open_below(scratch: Path, path: Path, flags: int) -> int:
    """Open ``path`` component by component from ``scratch``, following nothing."""
    try:
        names = path.relative_to(scratch).parts
    except ValueError as error:
        raise FetchError(f"the fetcher answered with a path outside its folder: {path}") from error
    if not names or ".." in names:
        raise FetchError(f"the fetcher answered with a path outside its folder: {path}")
    fd = os.open(scratch, _DIR)
    try:
        for name in names[:-1]:
            inner = os.open(name, _DIR, dir_fd=fd)
            os.close(fd)
            fd = inner
        return os.open(names[-1], flags, dir_fd=fd)
    except OSError as error:
        raise FetchError(f"the fetcher's answer cannot be read: {path.name}: {error.strerror}") from error
    finally:
        os.close(fd)
