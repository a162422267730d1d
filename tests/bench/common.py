"""Timing for the benchmarks: repeated runs, medians, and a ratio to a peer measured in between.

Benchmarks are scripts, not tests: `python tests/bench/NAME.py` prints a table and asserts nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 5) -> tuple[float, float]:
    """Medians of both, taken in turns so that a slow moment of the machine hits both."""
    rows = [(timed(ours), timed(peer)) for _ in range(rounds)]
    return statistics.median(row[0] for row in rows), statistics.median(row[1] for row in rows)


def row(what: str, ours: float, peer_name: str, peer: float) -> None:
    print(f"{what:45} {ours * 1000:10.1f} ms   {peer_name:28} {peer * 1000:10.1f} ms   ratio {ours / peer:6.2f}")
