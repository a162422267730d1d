"""What to do as memory runs out: hold, withdraw, freeze, stop, and all of it undone when there is room.

Guarantees: the oldest running action is neither frozen nor stopped, so the build gets on; what was frozen
is thawed before the end; what was stopped runs again, alone. Looked at five times a second and extrapolated,
because compilers allocate faster than the kernel complains; pressure-stall information only confirms.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from hermetic.execution.schedule_grant import Grant

TICK = 0.2  # seconds
AHEAD = 2.0  # seconds of extrapolation
BEHIND = 1.0  # seconds of samples it is made from
STALL = 0.2  # share of time in which somebody waits for memory
PATIENCE = 3.0  # seconds that freezing may take to help


class Level(IntEnum):
    FINE = 0
    HOLD = 1  # no new action starts
    WITHDRAW = 2  # no job of a running one starts either
    FREEZE = 3
    STOP = 4


@dataclass(slots=True)
class Gauge:
    """From bytes available to a level. Pure: the caller says what time it is."""

    reserve: int
    level: Level = Level.FINE
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _since: float = 0.0  # when it became FREEZE

    def judge(self, now: float, available: int, stalled: float = 0.0) -> Level:
        self._samples.append((now, available))
        while self._samples[0][0] < now - BEHIND:
            self._samples.popleft()
        level = self._level(available, self._soon(now, available), stalled)
        if level is Level.FINE and self.level > Level.FINE and available < self.reserve * 5 // 4:
            level = Level.HOLD  # not at once back to full speed
        if level is Level.FREEZE:
            if self.level < Level.FREEZE:
                self._since = now
            elif now - self._since > PATIENCE:
                level, self._since = Level.STOP, now
        self.level = level
        return level

    def _level(self, available: int, soon: int, stalled: float) -> Level:
        if available < self.reserve // 4:
            return Level.STOP
        if available < self.reserve // 2:
            return Level.FREEZE
        if available < self.reserve or soon < self.reserve // 2:
            return Level.WITHDRAW
        if soon < self.reserve or (stalled > STALL and available < 2 * self.reserve):
            return Level.HOLD
        return Level.FINE

    def _soon(self, now: float, available: int) -> int:
        then, before = self._samples[0]
        if now <= then or available >= before:
            return available
        return round(available - (before - available) / (now - then) * AHEAD)


def relieve(level: Level, running: Sequence[Grant]) -> Grant | None:
    """Freeze, thaw or stop. ``running``: oldest first. Returns what was stopped."""
    live = [one for one in running if one.group is not None and not one.squeezed]
    if level <= Level.HOLD:
        for one in live:
            _freeze(one, False)
        return None
    if live:
        _freeze(live[0], False)  # the oldest: those before it have ended
    younger = live[1:]
    if level is Level.STOP and younger:
        younger[-1].squeezed = True
        return younger[-1]
    if level is Level.FREEZE:
        still = [one for one in younger if one.group is not None and not one.group.frozen]
        if still:
            _freeze(still[-1], True)
    return None


def _freeze(one: Grant, on: bool) -> None:
    if one.group is not None and one.group.frozen is not on:
        one.group.freeze(on)


class Watcher:
    """The thread. ``look``: bytes available now and the share of stalled time; ``act``: told the level at
    every look; ``running``: whether there is anything to watch."""

    def __init__(self, gauge: Gauge, look: Callable[[], tuple[int, float]], act: Callable[[Level], None]) -> None:
        self.gauge, self._look, self._act = gauge, look, act
        self._busy = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def busy(self, yes: bool) -> None:
        """Whether actions run. The first starts the thread."""
        if not yes:
            self._busy.clear()
            return
        self._busy.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hb-memory", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._busy.wait() and not self._ended.is_set():
            self._act(self.gauge.judge(time.monotonic(), *self._look()))
            self._ended.wait(TICK)
