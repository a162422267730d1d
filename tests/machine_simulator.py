"""Builds on a virtual clock: the real schedule, claims, gauge and second tries; only time and memory are made up.

Actions believe too much or too little of themselves: how long they take and how much memory they need. Memory
grows while they run, the gauge looks five times a second as on a real machine, and what it does not prevent
the kernel ends: the largest dies.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from hermetic.action import Action, Kind, Mode, Output
from hermetic.errors import Location
from hermetic.execution.outcome import Finished, Outcome
from hermetic.execution.schedule import Budget, Claim, Schedule, Task
from hermetic.execution.schedule_grant import Grant
from hermetic.execution.schedule_machine import UNLIMITED, Machine, Second, reserve
from hermetic.execution.schedule_order import rests
from hermetic.execution.schedule_pressure import TICK, Gauge, Level
from hermetic.proto import hb_pb2

GIB = 1 << 30
GROWS = 0.5  # share of an action's time in which its memory grows
OUTPUTS = (Output("out", "/build/out", Kind.BLOB),)


@dataclass
class Graph:
    """``needs`` by name; names are in topological order. ``peaks``: what actions really take, if memory
    is to matter. ``guesses``: seconds as the schedule believes."""

    needs: dict[str, list[str]]
    seconds: dict[str, float]
    claims: dict[str, Claim]
    guesses: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.guesses = self.guesses or self.seconds
        for name, needs in self.needs.items():
            for need in needs:
                self.users.setdefault(need, []).append(name)

    def action(self, name: str) -> Action:
        claim = self.claims[name]
        said = {"cpu": claim.cpus, "memory": claim.memory, "exclusive": int(claim.exclusive)}
        resources = tuple((key, str(value)) for key, value in said.items())
        return Action(
            name, "//:x", "X", Location("B", 1), Mode.COMMAND, ("x",), OUTPUTS, resources=resources
        )  # fmt: skip

    def bound(self, cpus: int, memory: int) -> float:
        """Seconds; no schedule within these claims is shorter."""
        longest = max(rests(self.seconds, self.users, self.needs).values())
        work = sum(self.seconds[name] * min(claim.cpus, cpus) for name, claim in self.claims.items()) / cpus
        area = sum(self.seconds[name] * min(claim.memory, memory) for name, claim in self.claims.items()) / memory
        return max(longest, work, area)


def random_graph(rng: random.Random, count: int, *, wrong: float = 1.0, memory: int = 0) -> Graph:
    """``wrong``: the factor by which times and memory may be misjudged, either way. ``memory``: bytes that no
    action's real peak exceeds, where memory is to matter."""
    names = [f"a{number:05}" for number in range(count)]
    needs, reach = {}, rng.choice([6, 12, 50])
    for place, name in enumerate(names):
        window = names[max(place - reach, 0) : place]
        needs[name] = rng.sample(window, min(len(window), rng.choice([0, 1, 1, 2, 3])))
    seconds = {name: rng.lognormvariate(0, 1.2) for name in names}
    claims = {name: Claim(1, int(rng.lognormvariate(0, 1.0) * 0.5 * GIB)) for name in names}
    found = Graph(needs, seconds, claims)
    found.guesses = {name: one * off(rng, wrong) for name, one in seconds.items()}
    if memory:
        found.peaks = {name: min(int(one.memory * off(rng, wrong)), memory) for name, one in claims.items()}
    return found


def off(rng: random.Random, wrong: float) -> float:
    return math.exp(rng.uniform(-math.log(wrong), math.log(wrong)))


@dataclass
class FakeGroup:
    """A sandbox's processes: so much memory, or frozen."""

    now: int = 0
    peak: int = 0
    frozen: bool = False

    def look(self) -> None: ...

    def oom_kills(self) -> int | None:
        return 0

    def freeze(self, on: bool) -> None:
        self.frozen = on

    def close(self) -> None: ...


@dataclass
class Run:
    action: Action
    grant: Grant
    group: FakeGroup
    seconds: float
    left: float
    peak: int

    def grow(self) -> int:
        share = min((self.seconds - self.left) / (GROWS * self.seconds), 1.0) if self.seconds else 1.0
        self.group.now = int(self.peak * share)
        self.group.peak = max(self.group.peak, self.group.now)
        return self.group.now


@dataclass
class Trace:
    starts: list[tuple[float, str]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    wall: float = 0.0
    most_cpus: int = 0
    most_memory: int = 0
    most_passes: int = 0  # of an action first in line by others
    alone: bool = True  # what has to run alone did
    squeezed: int = 0
    killed: int = 0


class Simulation:
    """``cpus`` and ``memory`` are the budget; the machine has a reserve beside it, as real ones are given."""

    def __init__(self, graph: Graph, cpus: int, memory: int, order: Mapping[str, float] | None = None) -> None:
        """``order``: what actions are ordered by, if not by the longest way to the end."""
        self.graph = graph
        self.rest = order if order is not None else rests(graph.guesses, graph.users, graph.needs)
        self.budget = Budget(cpus, memory)
        self.machine = Machine(Budget(cpus, UNLIMITED))  # nobody watches the real one's memory …
        self.machine.budget = self.budget
        self.gauge = Gauge(reserve(memory))  # … but this gauge the simulated one's
        self.schedule = Schedule(self.budget, cpus)
        self.running: dict[str, Run] = {}
        self.second: dict[str, Second] = {}
        self.waiting = {name: len(needs) for name, needs in graph.needs.items()}
        self.cancel = threading.Event()
        self.trace = Trace()
        self.now = self.ticked = 0.0
        self.first, self.passes = "", 0

    def run(self) -> Trace:
        for name, count in self.waiting.items():
            if not count:
                self._line_up(name)
        while len(self.schedule) or self.running:
            self._start()
            assert self.running, "a deadlock: actions wait and none runs"
            self._pass_time()
        assert self.budget.free == (self.budget.cpus, self.budget.memory)
        self.machine.close()
        self.trace.wall = self.now
        return self.trace

    def _line_up(self, name: str) -> None:
        second = self.second.get(name)
        claim = second.claim if second is not None else self.machine.claim(self.graph.action(name))
        self.schedule.add(Task(name, claim, self.rest[name], self.graph.guesses[name]))

    def _start(self) -> None:
        while not self.machine.holds(self.schedule.running):
            first = self.schedule._line[0][1].name if len(self.schedule) else ""
            task = self.schedule.next(self.now)
            if task is None:
                return
            self._count_passes(first, task.name)
            action = self.graph.action(task.name)
            second = self.second.get(task.name)
            grant = self.machine.start(action, task.claim, self.cancel, second.jobs if second else 0)
            group = FakeGroup()
            grant.joined(group)
            seconds = self.graph.seconds[task.name]
            self.running[task.name] = Run(
                action, grant, group, seconds, seconds, self.graph.peaks.get(task.name, 0)
            )  # fmt: skip
            self.trace.starts.append((self.now, task.name))
            self._check()

    def _count_passes(self, first: str, started: str) -> None:
        self.passes = self.passes + 1 if first == self.first and started != first else int(started != first)
        self.first = first
        self.trace.most_passes = max(self.trace.most_passes, self.passes)

    def _check(self) -> None:
        claims = [one.grant.claim for one in self.running.values()]
        trace, budget = self.trace, self.budget
        if any(one.exclusive or one.cpus > budget.cpus or one.memory > budget.memory for one in claims):
            trace.alone = trace.alone and len(claims) == 1
        else:
            trace.most_cpus = max(trace.most_cpus, sum(one.cpus for one in claims))
            trace.most_memory = max(trace.most_memory, sum(one.memory for one in claims))

    def _pass_time(self) -> None:
        """To the next end of an action, or to the next look at memory if it matters."""
        moving = [one for one in self.running.values() if not one.group.frozen]
        step = min((one.left for one in moving), default=math.inf)
        if self.graph.peaks:
            step = min(step, self.ticked + TICK - self.now)
        assert step < math.inf, "everything is frozen"
        self.now += step
        for one in moving:
            one.left -= step
            if one.left <= 1e-9:
                self._end(one, Outcome.BUILT)
        if self.graph.peaks and self.now >= self.ticked + TICK - 1e-9:
            self.ticked = self.now
            self._look()

    def _look(self) -> None:
        """What the kernel does, then what hb does."""
        total = self.budget.memory + self.gauge.reserve
        used = {name: one.grow() for name, one in self.running.items()}
        while sum(used.values()) > total:
            name = max(used, key=lambda one: used[one])
            del used[name]
            self.trace.killed += 1
            self._end(self.running[name], Outcome.OOM)
        level = self.gauge.judge(self.now, total - sum(used.values())) if self.running else Level.FINE
        self.machine._relieve(level)
        for one in list(self.running.values()):
            if one.grant.squeezed:
                self.trace.squeezed += 1
                self._end(one, Outcome.SKIPPED)

    def _end(self, one: Run, outcome: Outcome) -> None:
        name = one.action.id
        del self.running[name]
        self.schedule.end(name)
        self.machine.end(one.grant)
        usage = hb_pb2.Usage(peak=one.group.peak, wall=one.seconds, jobs=one.grant.jobs)
        done = Finished(one.action, outcome, usage=usage)
        second = self.machine.again(done, one.grant, self.second.get(name))
        if second is not None:
            self.second[name] = second
            self._line_up(name)
            return
        self.trace.outcomes[name] = outcome
        for user in self.graph.users.get(name, ()):
            self.waiting[user] -= 1
            if not self.waiting[user]:
                self._line_up(user)


def simulate(graph: Graph, cpus: int, memory: int, order: Mapping[str, float] | None = None) -> Trace:
    return Simulation(graph, cpus, memory, order).run()
