"""The critical path of a past build: its steps, and what each costs the build.

Guarantees: the steps' times add up to the path's; ``won`` is exact for a machine with as many CPUs as it takes: the
path without a step, or the next longest one, whichever is longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hermetic.execution.records import State


@dataclass(frozen=True, slots=True)
class Stretch:
    """A step of the path. Seconds; ``won``: how much sooner the path would end if the step took no time."""

    title: str
    seconds: float
    share: float
    won: float


def stretches(state: State, ran: Mapping[int, float]) -> list[Stretch]:
    """``ran``: number of a step → seconds it took. First step first."""
    order = [number for number in state.behind(sorted(ran)) if number in ran]
    path = _path(state, order, ran)
    whole = sum(ran[number] for number in path)
    found = []
    for number in path:
        without = {**ran, number: 0.0}
        rest = sum(without[one] for one in _path(state, order, without))
        found.append(Stretch(state.steps[number].title, ran[number], ran[number] / (whole or 1.0), whole - rest))
    return found


def _path(state: State, order: list[int], ran: Mapping[int, float]) -> list[int]:
    """The longest chain. ``order``: what is needed before its users."""
    until: dict[int, float] = {}
    before: dict[int, int] = {}
    for number in order:
        needs = [one for one in state.steps[number].needs if one in until]
        last = max(needs, key=lambda one: until[one], default=None)
        until[number] = ran[number] + (until[last] if last is not None else 0.0)
        if last is not None:
            before[number] = last
    at = max(order, key=lambda one: until[one], default=None)
    found: list[int] = []
    while at is not None:
        found.append(at)
        at = before.get(at)
    return found[::-1]
