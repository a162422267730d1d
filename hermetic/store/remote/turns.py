"""Work done side by side, its results taken in order, with a bound on what waits in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_turn(work: Callable[[A], B], items: Iterable[A], width: int) -> Iterator[B]:
    """The results of ``work`` in order, at most ``width`` of them under way or waiting to be taken."""
    under_way: deque[Future[B]] = deque()
    with ThreadPoolExecutor(width) as pool:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= width:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
