"""The scheduler: what it costs per action, how good its order is, and a real make against `make -jN`.

usage: python tests/bench/bench_schedule.py [GRAPHS]
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import paired, row
from machine_simulator import GIB, random_graph, simulate

from hermetic.execution.schedule import Budget
from hermetic.sandbox.jobserver import Pool
from hermetic.sandbox.jobserver_tools import tools_in


def quality(graphs: int) -> None:
    """Against the same admission in the order of names, and against the lower bound. Predictions of time are
    off by up to three times either way."""
    rng = random.Random(7)
    ours, naive, spent, actions = [], [], 0.0, 0
    for _ in range(graphs):
        count = rng.choice([10, 30, 100, 300, 1000])
        graph = random_graph(rng, count, wrong=3.0)
        cpus, memory = rng.choice([2, 4, 16]), 16 * GIB
        bound = graph.bound(cpus, memory)
        started = time.perf_counter()
        ours.append(simulate(graph, cpus, memory).wall / bound)
        spent += time.perf_counter() - started
        actions += count
        naive.append(simulate(graph, cpus, memory, dict.fromkeys(graph.seconds, 0.0)).wall / bound)
    for what, share in (("median", 49), ("95th percentile", 94)):
        mine, other = (statistics.quantiles(ratios, n=100)[share] for ratios in (ours, naive))
        print(f"{f'time over the lower bound, {what}':45} {mine:10.3f}      in order of names {other:21.3f}")
    print(f"{'scheduler per action (simulated build)':45} {spent / actions * 1000:10.3f} ms")


def real_make() -> None:
    """Sixty processes of 0.1 s of CPU: one make on hb's jobserver, against make with -j of its own."""
    make, cpus = shutil.which("make"), len(os.sched_getaffinity(0))
    if make is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        burn = "i=0; while [ $$i -lt 60000 ]; do i=$$((i+1)); done"
        text = "all: $(foreach n,$(shell seq 60),j$(n))\nj%:\n\t@" + burn + "\n"
        (Path(folder) / "Makefile").write_text(text)
        style = tools_in([Path("/")]).make

        def ours() -> None:
            budget = Budget(cpus, 0)
            pool = Pool(budget)
            budget.take(1, 0)
            client = pool.join(Path(folder) / "fifo", 0, cpus - 1)
            fds = client.descriptors() if style == "fds" else None
            auth = f"{fds[0]},{fds[1]}" if fds else f"fifo:{client.path}"
            env = {**os.environ, "MAKEFLAGS": f"-j{cpus} --jobserver-auth={auth}"}
            subprocess.run([str(make), "-C", folder], env=env, pass_fds=fds or (), check=True, capture_output=True)
            pool.leave(client)
            pool.close()

        def peer() -> None:
            subprocess.run([str(make), "-C", folder, f"-j{cpus}"], check=True, capture_output=True)

        one, other = paired(ours, peer, 3)
        row(f"60 jobs of make, {cpus} tokens of hb", one, f"make -j{cpus}", other)


def main() -> None:
    quality(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
    if "--no-make" not in sys.argv:
        real_make()


main()
