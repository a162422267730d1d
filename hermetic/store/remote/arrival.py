"""A blob on its way in: its digest is made while it is written, so that nothing is read twice.

Guarantees: the digest is that of the bytes the file was given, in order. A large blob is hashed by a thread of its
own, beside whoever unpacks and writes it; what waits for it is bounded.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from types import TracebackType
from typing import BinaryIO

from hermetic.digest import Digest

LARGE = 4 << 20  # bytes from which a thread is worth it
AHEAD = 8  # writes that may wait to be hashed


class Arrival:
    """A sink in front of ``file``; ``size`` is what is expected. ``digest`` is there after the block."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._state = hashlib.sha256()
        self._size = 0
        self._waiting: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._thread = threading.Thread(target=self._hash, name="download", daemon=True) if size >= LARGE else None

    def __enter__(self) -> Arrival:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()

    def write(self, data: bytes) -> int:
        self._size += len(data)
        if self._thread is None:
            self._state.update(data)
        else:
            self._waiting.put(data)
        return self._file.write(data)

    @property
    def digest(self) -> Digest:
        return Digest(self._state.hexdigest(), self._size)

    def _hash(self) -> None:
        while (data := self._waiting.get()) is not None:
            self._state.update(data)
