"""The same action wanted by several hb processes on one store runs once.

Guarantees: of those that want a key at the same time one runs it; a process that dies lets go, because the
kernel drops its locks. One file, and in it a byte for each key: nothing to clean up. (Locks of open file
descriptions, fcntl(2): they also hold between threads of one process.)
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from hermetic.digest import Digest

TICK = 0.05  # seconds between looks at another process's lock


class Flights:
    """``path``: the file of locks in the store. A file that cannot be had locks nothing."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            self._file = -1
        self._waiting: dict[str, tuple[Digest, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def take(self, key: Digest) -> bool:
        """Whether this process may run the key. ``give`` it back afterwards."""
        return self._set(key, fcntl.F_WRLCK)

    def give(self, key: Digest) -> None:
        self._set(key, fcntl.F_UNLCK)

    def wait(self, name: str, key: Digest, then: Callable[[], None]) -> None:
        """Call ``then`` when the key is nobody's any more."""
        with self._lock:
            self._waiting[name] = key, then
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hb-elsewhere", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._file >= 0:
            os.close(self._file)

    def _run(self) -> None:
        while not self._ended.wait(TICK):
            with self._lock:
                waiting = list(self._waiting.items())
            for name, (key, then) in waiting:
                if self.take(key):
                    self.give(key)
                    with self._lock:
                        del self._waiting[name]
                    then()

    def _set(self, key: Digest, kind: int) -> bool:
        if self._file < 0:
            return True
        place = int(key.hash[:15], 16)  # 60 bits
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, place, 1, 0))
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks: both run it, and both results are the same
        return True
