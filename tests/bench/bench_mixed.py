"""Two makes, a ninja and a cargo at once: hb's pool of jobs against the best fixed -j, found in the same run.

usage: python tests/bench/bench_mixed.py [ROUNDS] [C FILES OF EACH]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import row, timed
from mixed_load import MixedLoad, Runnable, missing


def main() -> None:
    if lacks := missing():
        print(f"this machine has no {lacks}")
        return
    rounds, size = (int(word) for word in (*sys.argv[1:3], *("3", "12")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        load = MixedLoad(Path(folder), size)
        tried = sorted({1, 2, 3, load.cpus, load.cpus + 2})
        load.with_fixed(load.cpus)  # page cache
        times: dict[int, list[float]] = {jobs: [] for jobs in (0, *tried)}
        counts: list[int] = []
        for _ in range(rounds):  # in turns: a slow moment of the machine hits all
            runnable = Runnable(load.groups)
            times[0].append(timed(partial(load.with_hb, runnable)))
            counts += runnable.counts
            for jobs in tried:
                times[jobs].append(timed(partial(load.with_fixed, jobs)))
        load.close()
    medians = {jobs: statistics.median(found) for jobs, found in times.items()}
    best = min(tried, key=lambda jobs: medians[jobs])
    for jobs in tried:
        row(
            "four builds at once, hb",
            medians[0],
            f"each -j{jobs}" + (" (the best)" if jobs == best else ""),
            medians[jobs],
        )
    print(f"{'runnable threads at once, at most':45} {max(counts):10}      with {load.cpus} CPUs")
    idle = sum(one < load.cpus for one in counts) / len(counts)
    print(f"{'time with fewer runnable than CPUs':45} {idle:10.0%}")


main()
