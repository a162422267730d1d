"""A remote that cannot hurt a build: failures are counted, and a remote that keeps failing is left alone.

Guarantees: after ``PATIENCE`` failures in a row, or one that trying again cannot mend, no request is made
for ``REST`` seconds (or at all), so that a dead cache costs seconds, not minutes. Every caller sees a
RemoteError and goes on without the remote. Each distinct problem is noted once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from hermetic.store.remote.protocol import RemoteError

PATIENCE = 3
REST = 30.0


class Named(Protocol):
    @property
    def name(self) -> str: ...


R = TypeVar("R", bound=Named)
T = TypeVar("T")


class Resting(RemoteError):
    """Not asked, because the remote failed too often."""


class Guard(Generic[R]):
    def __init__(self, remote: R, clock: Callable[[], float] = time.monotonic) -> None:
        self.remote = remote
        self.failures = 0
        self.problems: dict[str, None] = {}  # in the order they came up
        self._clock = clock
        self._lock = threading.Lock()
        self._row = 0
        self._until = 0.0

    def ask(self, call: Callable[[R], T]) -> T:
        """What ``call`` returns. Raises RemoteError."""
        with self._lock:
            if self._clock() < self._until:
                raise Resting(f"{self.remote.name} is not asked for a while")
        try:
            found = call(self.remote)
        except RemoteError as error:
            self._failed(error)
            raise
        with self._lock:
            self._row = 0
        return found

    def _failed(self, error: RemoteError) -> None:
        with self._lock:
            self.failures += 1
            self._row += 1
            self.problems.setdefault(str(error))
            if error.fatal:
                self._until = float("inf")
            elif self._row >= PATIENCE:
                self._until = self._clock() + REST
                self._row = PATIENCE - 1  # after the rest, one failure is enough
