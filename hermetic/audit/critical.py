"""The critical path of a past build: its steps, and what each costs the build.

Guarantees: the steps' times add up to the path's; ``won`` is exact for a machine with as many CPUs as it takes: the
path without a step, or the next longest one, whichever is longer. A hit took no time, but it was looked for when
what it depends on was there: who waited for the hit waited for that. Time and memory grow with the graph, not with
the graph times the path.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hermetic.execution.records import State


@dataclass(frozen=True, slots=True)
class Stretch:
    """A step of the path. Seconds; ``won``: how much sooner the path would end if the step took no time."""

    title: str
    seconds: float
    share: float
    won: float


def critical_path(state: State, ran: Mapping[int, float]) -> list[int]:
    """``ran``: number of a step → seconds it took. The steps of the longest chain that ran, first to last."""
    return _Chains.of(state, ran).longest()


def stretches(state: State, ran: Mapping[int, float]) -> list[Stretch]:
    """``ran``: as above. First step first."""
    chains = _Chains.of(state, ran)
    path = chains.longest()
    whole = sum(ran[number] for number in path)
    avoiding = chains.avoiding(set(path))
    found = []
    for number in path:
        rest = max(whole - ran[number], avoiding[number])
        found.append(Stretch(state.steps[number].title, ran[number], ran[number] / (whole or 1.0), whole - rest))
    return found


@dataclass(slots=True)
class _Chains:
    """Steps by their place in an order that has what is needed before its users. ``until`` and ``rest``: seconds of
    the longest chain that ends or begins with a step, and with it."""

    order: list[int]
    seconds: dict[int, float]
    needs: dict[int, list[int]]
    timed: Mapping[int, float]
    until: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)

    @staticmethod
    def of(state: State, ran: Mapping[int, float]) -> _Chains:
        order = state.behind(sorted(ran))
        place = {number: at for at, number in enumerate(order)}
        needs = {at: sorted(place[one] for one in state.steps[number].needs) for at, number in enumerate(order)}
        seconds = {at: ran.get(number, 0.0) for at, number in enumerate(order)}
        found = _Chains(order, seconds, needs, ran)
        found._measure()
        return found

    def _measure(self) -> None:
        count = len(self.order)
        for at in range(count):
            self.until.append(self.seconds[at] + max((self.until[one] for one in self.needs[at]), default=0.0))
        self.rest = [self.seconds[at] for at in range(count)]
        for at in reversed(range(count)):
            for one in self.needs[at]:
                self.rest[one] = max(self.rest[one], self.seconds[one] + self.rest[at])

    def longest(self) -> list[int]:
        at = max(range(len(self.order)), key=lambda one: self.until[one], default=None)
        found: list[int] = []
        while at is not None:
            found.append(self.order[at])
            at = max(self.needs[at], key=lambda one: self.until[one], default=None)
        return [number for number in reversed(found) if number in self.timed]

    def avoiding(self, steps: set[int]) -> dict[int, float]:
        """Step → seconds of the longest chain without it: one that lies before it, after it, or passes it."""
        after = _suffix_maxima(self.rest)
        over: list[tuple[float, int]] = []  # edges that pass a place: (-seconds of the longest chain with it, its end)
        users: dict[int, list[int]] = {}
        for at, needs in self.needs.items():
            for one in needs:
                users.setdefault(one, []).append(at)
        found, before = {}, 0.0
        for at, number in enumerate(self.order):
            while over and over[0][1] <= at:
                heapq.heappop(over)
            if number in steps:
                found[number] = max(before, after[at + 1], -over[0][0] if over else 0.0)
            before = max(before, self.until[at])
            for user in users.get(at, ()):
                heapq.heappush(over, (-(self.until[at] + self.rest[user]), user))
        return found


def _suffix_maxima(values: Sequence[float]) -> list[float]:
    found = [0.0]
    for value in reversed(values):
        found.append(max(found[-1], value))
    return found[::-1]
