"""The plan of a build: how long it should take, from how long its steps took before.

Guarantees: predicted times are those of the newest success of the same step; where there is none, the
mean of its mnemonic stands in, and the plan says for how many. The predicted wall time is what a list
schedule with that many jobs gives, the longest way to the end first.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hermetic.execution.records import State

UNKNOWN = 1.0  # seconds for a step of a mnemonic nothing is known of


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds. ``seconds``: per step that would run. ``guessed``: those no build has run. ``critical``: the
    steps of the critical path, first to last."""

    seconds: Mapping[int, float]
    guessed: Collection[int]
    critical: Sequence[int]
    jobs: int
    work: float
    path: float
    wall: float


def plan(state: State, run: Collection[int], known: Mapping[tuple[str, str, str], float], jobs: int) -> Plan:
    """``run``: numbers of the steps that would run; ``known``: (label, mnemonic, settings) → seconds."""
    means = _means(known)
    seconds, guessed = {}, set()
    for number in run:
        step = state.steps[number]
        identity = (step.label, step.mnemonic, step.settings)
        if identity in known:
            seconds[number] = known[identity]
        else:
            seconds[number] = means.get(step.mnemonic, UNKNOWN)
            guessed.add(number)
    order = [number for number in state.behind(sorted(run)) if number in seconds]
    needs = {number: [one for one in state.steps[number].needs if one in seconds] for number in order}
    users: dict[int, list[int]] = {number: [] for number in order}
    for number in order:
        for need in needs[number]:
            users[need].append(number)
    rest: dict[int, float] = {}
    for number in reversed(order):  # users first
        rest[number] = seconds[number] + max((rest[one] for one in users[number]), default=0.0)
    critical = _critical(order, needs, users, rest)
    wall = _simulate(order, needs, users, rest, seconds, max(jobs, 1))
    return Plan(seconds, guessed, critical, jobs, sum(seconds.values()), max(rest.values(), default=0.0), wall)


def _means(known: Mapping[tuple[str, str, str], float]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for (_, mnemonic, _), wall in known.items():
        found.setdefault(mnemonic, []).append(wall)
    return {mnemonic: sum(walls) / len(walls) for mnemonic, walls in found.items()}


def _critical(
    order: Sequence[int],
    needs: Mapping[int, Sequence[int]],
    users: Mapping[int, Sequence[int]],
    rest: Mapping[int, float],
) -> list[int]:
    at = max((one for one in order if not needs[one]), key=lambda one: rest[one], default=None)
    found: list[int] = []
    while at is not None:
        found.append(at)
        at = max(users[at], key=lambda one: rest[one], default=None)
    return found


def _simulate(
    order: Sequence[int],
    needs: Mapping[int, Sequence[int]],
    users: Mapping[int, Sequence[int]],
    rest: Mapping[int, float],
    seconds: Mapping[int, float],
    jobs: int,
) -> float:
    """When the last step ends, if ``jobs`` steps run at a time."""
    left = {number: len(needs[number]) for number in order}
    ready = [(-rest[number], number) for number in order if not left[number]]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < jobs:
            number = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[number], number))
        now, number = heapq.heappop(running)
        for user in users[number]:
            left[user] -= 1
            if not left[user]:
                heapq.heappush(ready, (-rest[user], user))
    return now
