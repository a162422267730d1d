"""Where a build stands, what an earlier one knows of it, and what workers tell the loop, which alone changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from hermetic.action import Action
from hermetic.digest import Digest
from hermetic.execution.keys import Keyed
from hermetic.execution.outcome import Finished
from hermetic.execution.schedule_machine import Second
from hermetic.store.operation import Resolved


@dataclass(frozen=True, slots=True)
class Missed:
    """An action without a stored result."""

    action: Action
    keyed: Keyed


@dataclass(frozen=True, slots=True)
class Again:
    """An action that goes back into the schedule: for another try, or, without one, because another hb
    process runs an equal one (``elsewhere``) or has done so."""

    action: Action
    keyed: Keyed
    second: Second | None = None
    elsewhere: bool = False


class Phase(StrEnum):
    LOOKED = "looked"
    RAN = "ran"
    FETCHED = "fetched"
    RELEASED = "released"  # by another hb process
    WOKEN = "woken"  # the machine has room again


Done: TypeAlias = Finished | Missed | Again
Event: TypeAlias = tuple[Phase, Sequence[Done]]


@dataclass(frozen=True)
class Earlier:
    """What an earlier build knows of the graph to be built, or of a larger one it is part of: outputs of
    actions outside it (``known``, by action and output), results of the actions in it (``before``) and of
    those that are what they were and see no changed source (``results``; if no input moved, they need not
    be looked at, and are counted but not reported), and what such an action ``needs``. ``unchanged``: how many
    actions are outside."""

    known: Mapping[tuple[str, str], Resolved] = field(default_factory=dict)
    before: Mapping[str, Mapping[str, Resolved]] = field(default_factory=dict)
    results: Mapping[str, Mapping[str, Resolved]] = field(default_factory=dict)
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unchanged: int = 0


@dataclass
class State:
    """Where the build stands. Touched by the loop only."""

    waiting: dict[str, set[str]] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)
    ready: list[tuple[float, str]] = field(default_factory=list)  # a heap: to be looked for
    fetches: list[str] = field(default_factory=list)
    looking: int = 0
    fetching: bool = False
    keyed: dict[str, Keyed] = field(default_factory=dict)  # of actions in the schedule
    leaders: dict[Digest, str] = field(default_factory=dict)  # the one of equal actions that runs
    twins: dict[Digest, list[Action]] = field(default_factory=dict)  # and those that wait for it
    ran: dict[Digest, Finished] = field(default_factory=dict)  # an equal one may have been looked for too early
    elsewhere: set[str] = field(default_factory=set)  # actions whose equals another hb process runs
    second: dict[str, Second] = field(default_factory=dict)  # actions killed for memory once
    seconds: dict[str, float] = field(default_factory=dict)
    rest: dict[str, float] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)
    made: dict[tuple[str, str], Resolved] = field(default_factory=dict)
    stopping: bool = False
    again: set[str] = field(default_factory=set)  # actions whose stored result must not be used
    retried: set[str] = field(default_factory=set)  # actions that lost an input once already
    moved: set[str] = field(default_factory=set)  # actions whose outputs are not those of the earlier build
    same: list[str] = field(default_factory=list)  # actions found to see what they saw then, to be settled
    passed: set[str] = field(default_factory=set)  # … and settled
