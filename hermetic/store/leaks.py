"""A store that takes nothing in which a secret is.

Guarantees: whatever is stored through it was looked through first, all of it: files, and the directory
messages, which hold names, the targets of symbolic links and extended attributes. What was stored before the
secret was met holds none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from hermetic.digest import Digest
from hermetic.errors import ActionError
from hermetic.needles import Needles
from hermetic.secret import Secret
from hermetic.store.protocols import BlobStore

STEP = 1 << 20  # bytes looked through at once


class GuardedStore:
    """A ``BlobStore``. ``below``: the folder that paths in messages begin after."""

    def __init__(self, store: BlobStore, secrets: Sequence[Secret], below: Path) -> None:
        self._store = store
        self._needles = Needles(secrets)
        self._below = below

    def put(self, data: bytes) -> Digest:
        name = self._needles.first(data)
        if name is not None:
            raise _leak(name, "the name of a file, the target of a link or an attribute")
        return self._store.put(data)

    def put_file(self, path: Path, *, take: bool = False) -> Digest:
        """The caller knows that no process writes to the file any more."""
        with path.open("rb") as stream:
            for _ in iter(_Watched(stream, self._needles, self._place(path)).piece, b""):
                pass
        return self._store.put_file(path, take=take)

    def put_stream(self, stream: BinaryIO, expect: Digest | None = None) -> Digest:
        watched = _Watched(stream, self._needles, self._place(Path(f"/proc/self/fd/{stream.fileno()}")))
        return self._store.put_stream(watched, expect)  # type: ignore[arg-type]

    def read(self, digest: Digest) -> bytes:
        return self._store.read(digest)

    def open(self, digest: Digest) -> BinaryIO:
        return self._store.open(digest)

    def has(self, digest: Digest) -> bool:
        return self._store.has(digest)

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        return self._store.missing(digests)

    def find_sha256(self, sha256: str) -> Digest | None:
        return self._store.find_sha256(sha256)

    def want_tree(self, root: Digest) -> None:
        self._store.want_tree(root)

    def path(self, digest: Digest, *, executable: bool = False) -> Path:
        return self._store.path(digest, executable=executable)

    def _place(self, path: Path) -> str:
        """What messages call a file that was named by a descriptor of its folder, or of itself."""
        real, below = os.path.realpath(path), os.path.realpath(self._below)
        return os.path.relpath(real, below) if real.startswith(f"{below}/") else path.name


class _Watched:
    """A stream that is looked through as it is read, over the edges of what is read at once."""

    def __init__(self, stream: BinaryIO, needles: Needles, place: str) -> None:
        self._stream, self._needles, self._place = stream, needles, place
        self._before = b""

    def piece(self) -> bytes:
        return self.read(STEP)

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        seen = self._before + data
        name = self._needles.first(seen)
        if name is not None:
            raise _leak(name, self._place)
        self._before = seen[-(self._needles.longest - 1) :]
        return data


def _leak(name: str, place: str) -> ActionError:
    return ActionError(
        f"the secret {name} is in {place}",
        hint="let the command keep it out of what it makes; nothing of this run was stored",
    )
