"""What a build's hits were worth, and which way through it took longest: from its record.

Pure. Guarantees: nothing is guessed; a hit whose time nobody has measured counts as worth nothing, and
the account says how many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hermetic.execution.records import State
from hermetic.execution.schedule_order import rests


@dataclass(frozen=True, slots=True)
class Account:
    """Seconds. ``timed``: how many of the ``hits`` are in ``saved``, the work they stood in for. ``critical``:
    the steps on the longest way through what ran, first to last; ``path``: how long that is."""

    hits: int
    timed: int
    saved: float
    critical: tuple[int, ...]
    path: float


def account(state: State, ran: Mapping[int, float], hits: Collection[int], known: Mapping[int, float]) -> Account:
    """``ran``: step → seconds in this build; ``known``: step → seconds it took another time."""
    timed = [known[number] for number in hits if number in known]
    critical = _critical(state, ran)
    return Account(len(hits), len(timed), sum(timed), critical, sum(ran[number] for number in critical))


def _critical(state: State, ran: Mapping[int, float]) -> tuple[int, ...]:
    seconds = {str(number): wall for number, wall in ran.items()}
    needs = {str(number): [str(one) for one in state.steps[number].needs if one in ran] for number in ran}
    users: dict[str, list[str]] = {name: [] for name in seconds}
    for name, found in needs.items():
        for need in found:
            users[need].append(name)
    rest = rests(seconds, users, needs)
    at = max(rest, key=lambda one: (rest[one], -int(one)), default=None)
    path = []
    while at is not None:
        path.append(int(at))
        at = max(users[at], key=lambda one: (rest[one], -int(one)), default=None)
    return tuple(path)
