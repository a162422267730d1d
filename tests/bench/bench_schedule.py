"""The scheduler: what it costs per action, how good its order is, and a real make against `make -jN`.

usage: python tests/bench/bench_schedule.py [GRAPHS]
"""

from __future__ import annotations

import heapq
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import paired, row

from hermetic.execution.schedule import Budget, Claim, Schedule, Task
from hermetic.execution.schedule_order import rests
from hermetic.sandbox.jobserver import Pool
from hermetic.sandbox.jobserver_tools import tools_in

GIB = 1 << 30
Graph = tuple[dict[str, list[str]], dict[str, float], dict[str, Claim]]


def random_graph(rng: random.Random, count: int) -> Graph:
    names = [f"a{number:05}" for number in range(count)]
    needs, reach = {}, rng.choice([6, 12, 50])
    for place, name in enumerate(names):
        window = names[max(place - reach, 0) : place]
        needs[name] = rng.sample(window, min(len(window), rng.choice([0, 1, 1, 2, 3])))
    seconds = {name: rng.lognormvariate(0, 1.2) for name in names}
    return needs, seconds, {name: Claim(1, int(rng.lognormvariate(0, 1.0) * 0.5 * GIB)) for name in names}


def simulate(graph: Graph, cpus: int, memory: int, rest: dict[str, float], guess: dict[str, float]) -> float:
    """Makespan on a virtual clock. ``rest``: what the order is made of."""
    needs, seconds, claims = graph
    users: dict[str, list[str]] = {}
    for name, wanted in needs.items():
        for need in wanted:
            users.setdefault(need, []).append(name)
    schedule = Schedule(Budget(cpus, memory), cpus)
    waiting = {name: len(wanted) for name, wanted in needs.items()}
    for name, count in waiting.items():
        if not count:
            schedule.add(Task(name, claims[name], rest[name], guess[name]))
    running: list[tuple[float, str]] = []
    now = 0.0
    while len(schedule) or running:
        while (task := schedule.next(now)) is not None:
            heapq.heappush(running, (now + seconds[task.name], task.name))
        now, name = heapq.heappop(running)
        schedule.end(name)
        for user in users.get(name, ()):
            waiting[user] -= 1
            if not waiting[user]:
                schedule.add(Task(user, claims[user], rest[user], guess[user]))
    return now


def quality(graphs: int) -> None:
    """Against the same admission in the order of names, and against the lower bound. Predictions are off
    by up to three times either way."""
    rng = random.Random(7)
    ours, naive, spent, actions = [], [], 0.0, 0
    for _ in range(graphs):
        count = rng.choice([10, 30, 100, 300, 1000])
        graph = random_graph(rng, count)
        needs, seconds, claims = graph
        cpus, memory = rng.choice([2, 4, 16]), 16 * GIB
        guess = {name: one * rng.uniform(1 / 3, 3) for name, one in seconds.items()}
        users: dict[str, list[str]] = {}
        for name, wanted in needs.items():
            for need in wanted:
                users.setdefault(need, []).append(name)
        area = sum(seconds[name] * min(claims[name].memory, memory) for name in seconds) / memory
        bound = max(max(rests(seconds, users, needs).values()), sum(seconds.values()) / cpus, area)
        started = time.perf_counter()
        ours.append(simulate(graph, cpus, memory, rests(guess, users, needs), guess) / bound)
        spent += time.perf_counter() - started
        actions += count
        naive.append(simulate(graph, cpus, memory, dict.fromkeys(seconds, 0.0), guess) / bound)
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
