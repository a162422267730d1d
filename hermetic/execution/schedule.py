"""Which ready action starts next: the longest way to the end first, within the machine's CPUs and memory.

Pure: no clock, no process, no disk; the executor says what time it is. Guarantees, each a property test:
what runs together never claims more than the machine has; an action that claims more than the machine
has, or asks for it, runs alone; whatever is added starts some day, if what runs ends; equal questions get
equal answers.

The order is list scheduling by remaining time. When the first in line does not fit, later ones may pass
it as long as they should end before there is room for it, or leave that room free (the EASY backfilling
of batch schedulers: D. Lifka, 1995). Predictions may be wrong, so only so many may pass.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field

PASSES = 32  # actions that may pass one that waits for room
LOOKED_AT = 64  # actions in line that are tried for a gap


@dataclass(frozen=True, slots=True)
class Claim:
    """What an action needs while it runs. ``memory``: bytes; ``exclusive``: nothing may run beside it."""

    cpus: int = 1
    memory: int = 0
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """An action in line. ``rest``: seconds from its start to the end of the build, on the longest way;
    ``seconds``: its own."""

    name: str
    claim: Claim = Claim()
    rest: float = 0.0
    seconds: float = 0.0

    @property
    def rank(self) -> tuple[float, str]:
        """Smaller is sooner."""
        return -self.rest, self.name


class Budget:
    """The machine's CPUs and memory as tokens. Shared by the schedule and the jobserver: thread-safe."""

    def __init__(self, cpus: int, memory: int) -> None:
        self.cpus, self.memory = max(cpus, 1), max(memory, 0)
        self._free_cpus, self._free_memory = self.cpus, self.memory
        self._lock = threading.Lock()

    @property
    def free(self) -> tuple[int, int]:
        with self._lock:
            return self._free_cpus, self._free_memory

    def take(self, cpus: int, memory: int) -> bool:
        """Both or neither."""
        with self._lock:
            if cpus > self._free_cpus or memory > self._free_memory:
                return False
            self._free_cpus -= cpus
            self._free_memory -= memory
            return True

    def give(self, cpus: int, memory: int) -> None:
        with self._lock:
            self._free_cpus += cpus
            self._free_memory += memory
            assert self._free_cpus <= self.cpus and self._free_memory <= self.memory, "a token was given back twice"


@dataclass(slots=True)
class _Running:
    claim: Claim
    alone: bool
    end: float  # predicted


@dataclass(slots=True)
class Schedule:
    """The line and what runs. ``most``: actions at the same time."""

    budget: Budget
    most: int
    owed: tuple[int, int] = (0, 0)  # tokens lent to jobserver clients that the first in line waits for
    _line: list[tuple[tuple[float, str], Task]] = field(default_factory=list)
    _running: dict[str, _Running] = field(default_factory=dict)
    _passes: int = 0

    def add(self, task: Task) -> None:
        insort(self._line, (task.rank, task))

    def __len__(self) -> int:
        return len(self._line)

    @property
    def running(self) -> int:
        return len(self._running)

    def next(self, now: float) -> Task | None:
        """The action to start now, if any; its claim is taken until ``end``."""
        self.owed = (0, 0)
        if not self._line or len(self._running) >= self.most:
            return None
        if any(one.alone for one in self._running.values()):
            return None
        head = self._line[0][1]
        if self._fits(head):
            return self._start(0, now)
        return self._fill(head, now)

    def end(self, name: str) -> None:
        one = self._running.pop(name)
        self.budget.give(one.claim.cpus, one.claim.memory)

    # --- what fits ----------------------------------------------------------------------------------

    def _alone(self, claim: Claim) -> bool:
        return claim.exclusive or claim.cpus > self.budget.cpus or claim.memory > self.budget.memory

    def _fits(self, task: Task) -> bool:
        """By what the running ones claim."""
        if self._alone(task.claim):
            return not self._running
        cpus, memory = self._left()
        return task.claim.cpus <= cpus and task.claim.memory <= memory

    def _left(self) -> tuple[int, int]:
        claims = [one.claim for one in self._running.values()]
        return (
            self.budget.cpus - sum(one.cpus for one in claims),
            self.budget.memory - sum(one.memory for one in claims),
        )

    def _start(self, place: int, now: float) -> Task | None:
        task = self._line[place][1]
        claim, alone = task.claim, self._alone(task.claim)
        if alone:
            claim = Claim(min(claim.cpus, self.budget.cpus), min(claim.memory, self.budget.memory), True)
        if not self.budget.take(claim.cpus, claim.memory):
            self.owed = claim.cpus, claim.memory  # lent to jobserver clients for the moment
            return None
        del self._line[place]
        self._running[task.name] = _Running(claim, alone, now + task.seconds)
        if place == 0:
            self._passes = 0
        else:
            self._passes += 1
        return task

    def _fill(self, head: Task, now: float) -> Task | None:
        """A later one for the gap before there is room for the first."""
        if self._passes >= PASSES:
            return None
        when, cpus, memory = self._room(head, now)
        for place, task in self._later():
            short = now + task.seconds <= when
            beside = task.claim.cpus <= cpus and task.claim.memory <= memory and not self._alone(head.claim)
            if (short or beside) and not self._alone(task.claim) and self._fits(task):
                return self._start(place, now)
        return None

    def _later(self) -> Iterator[tuple[int, Task]]:
        for place in range(1, min(len(self._line), LOOKED_AT)):
            yield place, self._line[place][1]

    def _room(self, head: Task, now: float) -> tuple[float, int, int]:
        """When the first in line should fit, and what is left beside it then."""
        cpus, memory = self._left()
        need = head.claim
        when = now
        for one in sorted(self._running.values(), key=lambda one: one.end):
            if not self._alone(need) and need.cpus <= cpus and need.memory <= memory:
                break
            when = max(when, one.end)
            cpus += one.claim.cpus
            memory += one.claim.memory
        return when, cpus - need.cpus, memory - need.memory
