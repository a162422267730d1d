"""How much is under way to a remote at once, and how long it is waited for.

A link and a server have one bandwidth, whoever shares it. Sixty-four large requests at once get no more done than
eight, but each of them takes eight times as long, and all of them fail together when that is longer than anybody
waits. So requests that carry much take turns, and time-outs run only while a request has its turn.

Guarantees: in each direction at most ``WIDTH`` requests that carry more than ``LONG`` bytes are under way; each has at
most ``PART`` bytes in memory, or streams. Turns are given in the order they were asked for; a transfer may have several
only while nobody waits. A smaller request (a result, a question) never waits for a turn. Everything about time follows
from the one number a user gives, the seconds without an answer; the time hb itself needs does not count.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

from hermetic.store.remote.protocol import RemoteError

LONG = 1 << 20  # bytes: a request that carries more takes turns
PART = 8 << 20  # bytes of a large object that travel in one request, where it can be cut
WIDTH = 8  # turns in each direction
STRIDE = 512 << 10  # bytes that must come in the time a silence may last: 100 kB/s for the default of 5 s
SETTLING = 5.0  # silences more until the answer to a part: it waits in buffers on the way, and is written somewhere


@dataclass(frozen=True, slots=True)
class Pace:
    """``silence``: seconds without an answer after which a request has failed."""

    silence: float

    @property
    def connect(self) -> float:
        return min(self.silence, 3.0)

    def reply(self, sent: int) -> float:
        """Seconds until the first byte of the answer to a request that carried so many bytes."""
        return self.silence * (1 + SETTLING * min(sent / PART, 1.0))

    def whole(self, size: int) -> float:
        """Seconds in which so many bytes must have come."""
        return self.silence * (1 + size / STRIDE)


class Clock:
    """An answer that comes, but so slowly that the build is better off without it."""

    def __init__(self, name: str, pace: Pace) -> None:
        self._name = name
        self._pace = pace
        self._size = 0
        self._waited = 0.0

    def came(self, size: int, began: float) -> None:
        """So many bytes, waited for since ``began`` (monotonic). Raises RemoteError when it takes too long."""
        self._size += size
        self._waited += time.monotonic() - began
        if self._waited > self._pace.silence + self._pace.whole(self._size):
            raise RemoteError(f"{self._name}: an answer came too slowly")


class Turns:
    """A fair semaphore: who asked first is first, also against those who come while a turn is handed over."""

    def __init__(self, width: int = WIDTH) -> None:
        self._lock = threading.Lock()
        self._free = width
        self._waiting: deque[threading.Event] = deque()

    def take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            turn.wait()
        except BaseException:  # Ctrl-C
            with self._lock:
                given = turn not in self._waiting
                if not given:
                    self._waiting.remove(turn)
            if given:
                self.give()
            raise

    def spare(self) -> bool:
        """Take one that nobody waits for, if there is one."""
        with self._lock:
            found = self._free > 0
            self._free -= found
            return found

    def give(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    @property
    def wanted(self) -> bool:
        return bool(self._waiting)


class Lane:
    """The turns of one transfer, while the block lasts: one at least, none for a small one."""

    def __init__(self, turns: Turns | None) -> None:
        self._turns = turns
        self._held = 0

    def __enter__(self) -> Lane:
        if self._turns is not None:
            self._turns.take()
            self._held = 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._held:
            self._give()

    def room(self, under_way: int) -> bool:
        """Whether one more part may be begun. Never waits; what others wait for is given back."""
        if self._turns is None:
            return under_way == 0
        while self._held > max(under_way, 1) and self._turns.wanted:
            self._give()
        if under_way < self._held:
            return True
        more = self._turns.spare()
        self._held += more
        return more

    def _give(self) -> None:
        assert self._turns is not None
        self._held -= 1
        self._turns.give()


@dataclass(frozen=True)
class Flow:
    """What all requests to one remote share."""

    pace: Pace
    _up: Turns = field(default_factory=Turns)
    _down: Turns = field(default_factory=Turns)

    def sending(self, size: int) -> Lane:
        return Lane(self._up if size > LONG else None)

    def receiving(self, size: int) -> Lane:
        return Lane(self._down if size > LONG else None)
