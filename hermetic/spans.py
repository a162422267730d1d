"""What takes time, told to whoever listens: a profile, a collector of traces.

Guarantees: a span ends when the block around it ends, however it ends; the spans of one thread nest; where
nobody listens, a span is one call that does nothing. Times are seconds of the monotonic clock, which all
processes of a machine share. Attributes are small and public: labels, digests, counts and hb's own words. No
value of the environment, no path of the machine and no message is ever one.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias

Value: TypeAlias = str | int | float | bool | tuple[str, ...]

SHORTEST = 50e-6  # seconds: of another process, what is shorter is left out
LONGEST_NAME = 300  # characters
MOST = 50_000  # spans of another process


class Open(Protocol):
    """A span that has begun. ``say``: what is known of it only later."""

    def say(self, **attributes: Value) -> None: ...


class Spans(Protocol):
    """Where the engine says what it does. Called from several threads. ``heard``: whether anybody listens;
    what costs more than a call asks first."""

    @property
    def heard(self) -> bool: ...

    def span(self, name: str, **attributes: Value) -> AbstractContextManager[Open]:
        """Around what takes time. Names are few; what differs is in the attributes."""
        ...

    def past(self, name: str, since: float, until: float) -> None:
        """Something that is over, inside of what is open in this thread."""
        ...

    def count(self, name: str, values: Mapping[str, float]) -> None:
        """What a few numbers are now."""
        ...

    def adopt(self, track: str, rows: Any, since: float, until: float) -> None:
        """Spans of another process, which ran from ``since`` to ``until`` and is not believed: what it says
        is cut to that time, and what is no span is dropped."""
        ...


class _Unheard:
    """A span, and all spans, that nobody hears of."""

    __slots__ = ()
    heard = False

    def __enter__(self) -> Open:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        return None

    def say(self, **attributes: Value) -> None: ...
    def span(self, name: str, **attributes: Value) -> AbstractContextManager[Open]:  # noqa: ARG002
        return self

    def past(self, name: str, since: float, until: float) -> None: ...
    def count(self, name: str, values: Mapping[str, float]) -> None: ...
    def adopt(self, track: str, rows: Any, since: float, until: float) -> None: ...


UNHEARD: Spans = _Unheard()


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time. ``number``: from 1, in the order of beginnings; ``parent``: 0 for none.
    ``track``: the kind of thread it was in; ``outer``: its parent is in another thread."""

    number: int
    parent: int
    name: str
    track: str
    outer: bool
    since: float
    until: float
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Count:
    at: float
    name: str
    values: Mapping[str, float]


class _Open:
    __slots__ = ("attributes", "number", "stack")

    def __init__(self, number: int, attributes: dict[str, Value], stack: list[int]) -> None:
        self.number, self.attributes, self.stack = number, attributes, stack

    def say(self, **attributes: Value) -> None:
        self.attributes.update(attributes)


class Recorder:
    """Keeps every span in memory. What other threads do belongs to what the thread that made it does."""

    heard = True

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.began = clock()
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._spans: list[Span] = []
        self._counts: list[Count] = []
        self._threads = threading.local()
        self._main = self._stack()

    @property
    def spans(self) -> list[Span]:
        """Those that are over, in the order of their beginnings."""
        with self._lock:
            return sorted(self._spans, key=lambda one: one.number)

    @property
    def counts(self) -> list[Count]:
        with self._lock:
            return list(self._counts)

    @contextmanager
    def span(self, name: str, **attributes: Value) -> Iterator[Open]:
        stack = self._stack()
        parent, outer = self._parent(stack)
        one = _Open(next(self._numbers), attributes, stack)
        stack.append(one.number)
        since = self._clock()
        try:
            yield one
        except BaseException as error:
            one.attributes.setdefault("error", type(error).__name__)
            raise
        finally:
            until = self._clock()
            stack.pop()
            self._keep(Span(one.number, parent, name, _track(), outer, since, until, one.attributes))

    def past(self, name: str, since: float, until: float) -> None:
        parent, outer = self._parent(self._stack())
        self._keep(Span(next(self._numbers), parent, name, _track(), outer, since, until, {}))

    def count(self, name: str, values: Mapping[str, float]) -> None:
        with self._lock:
            self._counts.append(Count(self._clock(), name, dict(values)))

    def rows(self) -> list[list[Any]]:
        """The spans for another process, see ``adopt``."""
        spans = [one for one in self.spans if one.until - one.since >= SHORTEST]
        return [[one.name, one.since, one.until, dict(one.attributes)] for one in spans]

    def adopt(self, track: str, rows: Any, since: float, until: float) -> None:
        parent, _ = self._parent(self._stack())
        around: list[tuple[float, int]] = []  # end and number of what is open, the innermost last
        told = [one for row in (rows[:MOST] if isinstance(rows, list) else ()) if (one := _believed(row))]
        for name, first, last, attributes in sorted(told, key=lambda one: (one[1], -one[2])):
            start = min(max(first, since), until)
            end = min(max(last, start), until)
            while around and around[-1][0] <= start:
                around.pop()
            within = bool(around) and end <= around[-1][0]
            number = next(self._numbers)
            self._keep(
                Span(number, around[-1][1] if within else parent, name, track, not within, start, end, attributes)
            )
            around.append((end, number))

    def _stack(self) -> list[int]:
        """Numbers of the spans that are open in this thread."""
        stack: list[int] | None = getattr(self._threads, "stack", None)
        if stack is None:
            stack = self._threads.stack = []
        return stack

    def _parent(self, stack: Sequence[int]) -> tuple[int, bool]:
        if stack:
            return stack[-1], False
        main = self._main[-1:]  # a copy: that thread goes on
        return (main[0] if main else 0), True

    def _keep(self, span: Span) -> None:
        with self._lock:
            self._spans.append(span)


def _track() -> str:
    """Threads of a pool differ in a number at the end of their names."""
    name = threading.current_thread().name
    return "hb" if name == "MainThread" else name.rstrip("_-0123456789")


def _believed(row: Any) -> tuple[str, float, float, dict[str, Value]] | None:
    match row:
        case [str(name), float(since), float(until), dict(said)] if name.strip() and since == since and until == until:
            return name[:LONGEST_NAME], since, until, dict(filter(None, map(_plain, said.items())))
    return None


def _plain(item: tuple[Any, Any]) -> tuple[str, Value] | None:
    key, value = str(item[0])[:LONGEST_NAME], item[1]
    if isinstance(value, str):
        return key, value[:LONGEST_NAME]
    if isinstance(value, int | float) and abs(value) < 1 << 53:  # no NaN is
        return key, value
    return None
