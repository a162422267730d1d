"""Work done side by side by threads that never keep a process alive.

``concurrent.futures`` waits at exit for what its threads do; a build that is over, or was interrupted, must
not wait for an upload that was left.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Crew:
    """At most ``width`` threads, started when there is work."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()
        self._threads = 0
        self._left = False
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()

    def submit(self, work: Callable[[A], B], item: A) -> Future[B]:
        future: Future[B] = Future()
        with self._lock:
            if self._left:
                raise RuntimeError("nobody is here any more")
            if self._threads < self._width:
                self._threads += 1
                threading.Thread(target=self._serve, name="upload", daemon=True).start()
        self._work.put((future, lambda: work(item)))
        return future

    def map(self, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """All results in order. Raises what the first failing one raised, when all are done."""
        futures = [self.submit(work, item) for item in items]
        for future in futures:
            with suppress(BaseException):
                future.result()
        return [future.result() for future in futures]

    def leave(self) -> None:
        """What has not begun is given up."""
        with self._lock:
            self._left = True
            for _ in range(self._threads):
                self._work.put(None)

    def _serve(self) -> None:
        while (task := self._work.get()) is not None:
            future, work = task
            if self._left:
                future.cancel()
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            del task, future, work  # an item may be large, and the next one may never come


def in_turn(work: Callable[[A], B], items: Iterable[A], width: int, room: Callable[[int], bool] = bool) -> Iterator[B]:
    """The results of ``work`` in order, at most ``width`` of them under way or waiting to be taken. An item is taken
    from ``items`` when there is ``room`` beside so many others, or no other."""
    under_way: deque[Future[B]] = deque()
    crew = Crew(width)
    try:
        for item in items:
            under_way.append(crew.submit(work, item))
            while under_way and (len(under_way) >= width or not room(len(under_way))):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        crew.leave()
