"""A blob on its way in: its digest is made while it is written, so that nothing is read twice.

Guarantees: the digest is that of the bytes the file was given, in order, all of them written when the block ends. A
large blob is hashed and written by a thread of its own, beside whoever unpacks it; what waits for it is bounded, and
what fails there is raised here.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from types import TracebackType
from typing import BinaryIO

from hermetic.digest import Digest
from hermetic.store.disk import CACHED

LARGE = 4 << 20  # bytes from which a thread is worth it
AHEAD = 2  # writes that may wait, of up to some megabytes each


class Arrival:
    """A sink in front of ``file``; ``size`` is what is expected. ``digest`` is there after the block."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._state = hashlib.sha256()
        self._size = 0
        self._failure: OSError | None = None  # of the thread
        self._waiting: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._thread = threading.Thread(target=self._serve, name="download", daemon=True) if size >= LARGE else None

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
        if kind is None:
            self._check()

    def write(self, data: bytes) -> int:
        self._check()
        self._size += len(data)
        if self._thread is None:
            self._take(data)
        else:
            self._waiting.put(data)
        return len(data)

    @property
    def digest(self) -> Digest:
        return Digest(self._state.hexdigest(), self._size)

    def _take(self, data: bytes) -> None:
        """In pieces that are written while they are still in the processor's cache from being hashed."""
        view = memoryview(data)
        for start in range(0, len(view), CACHED):
            self._state.update(view[start : start + CACHED])
            self._file.write(view[start : start + CACHED])

    def _serve(self) -> None:
        while (data := self._waiting.get()) is not None:
            if self._failure is None:
                try:
                    self._take(data)
                except OSError as error:
                    self._failure = error

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
