"""What a build's hits were worth, and which way through it took longest: from its record.

Pure. Guarantees: nothing is guessed; a hit whose time nobody has measured counts as worth nothing, and
the account says how many there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hermetic.audit.critical import critical_path
from hermetic.execution.records import State


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
    critical = tuple(critical_path(state, ran))
    return Account(len(hits), len(timed), sum(timed), critical, sum(ran[number] for number in critical))
