"""Folders of the host become trees of the store.

Guarantees: the walk never follows a symlink (every directory is opened relative to its parent with
O_NOFOLLOW), never recurses (a tree 5,000 deep is a tree), and takes regular files, directories and
symlinks only; a socket, FIFO or device is an error that names it. Modes are normalised: 0755 for
directories and for files their owner may execute, 0644 for others; setuid, setgid and sticky bits
are kept as data. Times and owners are not looked at.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.digest import Digest
from hermetic.errors import ActionError
from hermetic.store.protocols import BlobStore
from hermetic.tree import PLAIN, Directory, File, Meta, Node, Subdir, Symlink

SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


@dataclass(slots=True)
class _Open:
    """A directory on the way: what is known of it so far, and what is still to be looked at."""

    name: str
    fd: int
    meta: Meta
    todo: list[str]
    entries: dict[str, Node] = field(default_factory=dict)


def ingest_tree(path: Path, store: BlobStore, *, take: bool = False) -> Digest:
    """The digest of the tree below ``path``. ``take``: files may be moved into the store; only for
    folders no process can write any more."""
    return ingest_open(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), store, take=take)


def ingest_open(fd: int, store: BlobStore, *, take: bool = False, special: int = SPECIAL, depth: int = 0) -> Digest:
    """The same for a directory already open; ``fd`` is closed. ``special``: which of the setuid, setgid and sticky
    bits are kept. ``depth``: how deep the tree may be, 0 for any depth."""
    stack = [_enter("", fd, special)]
    try:
        while True:
            top = stack[-1]
            if top.todo:
                _visit(stack, top, top.todo.pop(), store, take, special)
                if depth and len(stack) > depth:
                    raise ActionError(f"more than {depth} directories deep: {_path(stack)[:200]}")
                continue
            digest = store.put(Directory(top.entries, top.meta).encode())
            os.close(top.fd)
            stack.pop()
            if not stack:
                return digest
            stack[-1].entries[top.name] = Subdir(digest)
    finally:
        for entry in stack:
            os.close(entry.fd)


def file_node(mode: int, digest: Digest, keep: int = SPECIAL) -> File:
    executable = bool(mode & 0o100)
    special = mode & keep
    return File(digest, executable, Meta(mode=special | (0o755 if executable else 0o644)) if special else PLAIN)


def kind_name(mode: int) -> str:
    names = [
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    ]
    return next((name for test, name in names if test(mode)), "a regular file")


def checked_name(name: bytes, where: str) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise ActionError(
            f"{where}/{name!r} has a name that is not UTF-8", hint="rename the file; trees hold UTF-8 names only"
        ) from None


def _path(stack: list[_Open]) -> str:
    return "/".join(entry.name for entry in stack[1:])


def _enter(name: str, fd: int, keep: int) -> _Open:
    special = os.fstat(fd).st_mode & keep
    meta = Meta(mode=special | 0o755) if special else PLAIN
    names = [checked_name(os.fsencode(entry), name or ".") for entry in os.listdir(fd)]
    return _Open(name, fd, meta, names)


def _visit(stack: list[_Open], top: _Open, name: str, store: BlobStore, take: bool, keep: int) -> None:
    found = os.stat(name, dir_fd=top.fd, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        if found.st_mode & 0o700 != 0o700:  # writable too: taking a file away changes its directory
            os.chmod(name, stat.S_IMODE(found.st_mode) | 0o700, dir_fd=top.fd)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top.fd)
        stack.append(_enter(name, inner, keep))
    elif stat.S_ISLNK(found.st_mode):
        target = os.readlink(name, dir_fd=top.fd)
        top.entries[name] = Symlink(checked_name(os.fsencode(target), name))
    elif stat.S_ISREG(found.st_mode):
        digest = store_file(name, top.fd, found, store, take)
        top.entries[name] = file_node(found.st_mode, digest, keep)
    else:
        raise ActionError(
            f"{_path(stack)}/{name} is {kind_name(found.st_mode)}; a tree holds files, directories and links only"
        )


def store_file(name: str, dir_fd: int, found: os.stat_result, store: BlobStore, take: bool) -> Digest:
    """Store a file by its directory's descriptor; refuses what was swapped for a link meanwhile."""
    if found.st_mode & 0o400 == 0:
        os.chmod(name, 0o600, dir_fd=dir_fd)
    if take and found.st_nlink == 1:
        return store.put_file(Path(f"/proc/self/fd/{dir_fd}/{name}"), take=True)
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    with os.fdopen(fd, "rb") as stream:
        return store.put_stream(stream)
