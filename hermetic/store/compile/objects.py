"""Compiled objects on disk, in the names of the tool that makes them.

    <folder>/ab/ab12…    32 bytes of SHA-256, then the object

Guarantees: an object appears by rename and is checked when it is read, so a torn or rotten one is a miss
and goes; nothing is synced. Many processes may share a folder. ``sweep`` keeps its size, least recently
used first; a run that still reads what goes has it open already.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hermetic.digest import CHUNK

KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)  # what the tool calls an object: a BLAKE3 in hex
HEAD = hashlib.sha256().digest_size
COMING = ".new-"


class Objects:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, key: str) -> tuple[BinaryIO, int] | None:
        """A stream at the object's beginning and its size, or None. The caller closes it."""
        place = self._place(key)
        try:
            stream = place.open("rb")
        except OSError:
            return None
        try:
            if _sound(stream):
                with suppress(OSError):
                    os.utime(place)  # its last use
                return stream, os.fstat(stream.fileno()).st_size - HEAD
        except OSError:
            pass
        stream.close()
        with suppress(OSError):
            place.unlink()
        return None

    def has(self, key: str) -> bool:
        return self._place(key).exists()

    def read(self, key: str) -> bytes | None:
        found = self.open(key)
        if found is None:
            return None
        with found[0] as stream:
            return stream.read()

    def put(self, key: str, data: bytes) -> None:
        """Raises OSError."""
        with self.coming() as incoming:
            incoming.write(data)
            incoming.keep(key)

    def coming(self) -> Incoming:
        """An object that arrives in pieces. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Incoming(self)

    def take(self, other: Objects, key: str) -> bool:
        """Move an object here from a folder of the same file system. Raises OSError."""
        place = self._place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(other._place(key), place)
        except FileNotFoundError:
            return False
        return True

    def keys(self) -> Iterator[str]:
        for place in self.folder.glob("??/*"):
            if KEY.fullmatch(place.name):
                yield place.name

    def _place(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not the name of an object")
        return self.folder / key[:2] / key


class Incoming:
    """An object on its way in; what is not kept goes."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        handle, name = tempfile.mkstemp(dir=objects.folder, prefix=COMING)
        self._path, self._stream = Path(name), os.fdopen(handle, "wb")
        self._stream.write(bytes(HEAD))
        self._state = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._state.update(data)
        self._stream.write(data)

    def keep(self, key: str) -> None:
        self._stream.seek(0)
        self._stream.write(self._state.digest())
        self._stream.close()
        place = self._objects._place(key)
        place.parent.mkdir(exist_ok=True)
        os.replace(self._path, place)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._stream.close()
        with suppress(OSError):
            self._path.unlink()


def measure(folder: Path) -> tuple[int, int]:
    """How many objects lie below a folder of such folders, and their bytes."""
    sizes = [size for _, size, _ in _all(folder)]
    return len(sizes), sum(sizes)


def sweep(folder: Path, limit: int | None = None, since: float = 0.0, *, dry_run: bool = False) -> int:
    """Remove the objects below ``folder`` that were not used ``since`` (seconds since 1970), and the least
    recently used ones until the rest takes ``limit`` bytes; returns how many went, or would go."""
    total = removed = 0
    for used, size, place in sorted(_all(folder), reverse=True):
        total += size
        if used >= since and (limit is None or total <= limit):
            continue
        with suppress(OSError):
            if not dry_run:
                os.unlink(place)
            removed += 1
    return removed


def _all(folder: Path) -> Iterator[tuple[float, int, str]]:
    """(last use, bytes, path) of every object and of what was left on its way in."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with suppress(OSError):
                found = os.lstat(path)
                yield found.st_mtime, found.st_size, path


def _sound(stream: BinaryIO) -> bool:
    """Whether the bytes are what their head says. Leaves the stream at the object's beginning."""
    head, state = stream.read(HEAD), hashlib.sha256()
    while data := stream.read(CHUNK):
        state.update(data)
    stream.seek(HEAD)
    return head == state.digest()
