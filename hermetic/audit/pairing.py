"""Which step of one build is which step of another.

A step is known by its label, its mnemonic and its settings. A target may have hundreds of one mnemonic
(one per package); what tells these apart is what they fetch, or the names of what they take. Ids of
actions are of no use: they change with every edit of a BUILD file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hermetic.audit.compare import place_of
from hermetic.audit.subject import FETCHES, subject_of
from hermetic.execution.records import State, Trace

TraceOf: TypeAlias = Callable[[str], Trace | None]
Pairs: TypeAlias = list[tuple[int, int]]


FEW = 16  # steps


@dataclass(frozen=True, slots=True)
class View:
    """A state whose traces can be asked for by key."""

    state: State
    trace: TraceOf


def pair(new: View, news: Sequence[int], old: View, olds: Sequence[int]) -> tuple[Pairs, list[int], list[int]]:
    """Pairs (new, old), then what is only new, then what is only old. Equal keys pair first, equal
    settings before others."""
    pairs = _alike(new.state, news, old.state, olds)
    if pairs is not None:
        return pairs, [], []
    pairs = []
    left, gone = _matched(
        list(news), list(olds), lambda one: new.state.steps[one][:4], lambda one: old.state.steps[one][:4], pairs
    )
    for depth in (3, 2):  # label, mnemonic, settings; then without settings
        if left and gone:
            left, gone = _by_group(new, left, old, gone, depth, pairs)
    return pairs, left, gone


def _alike(new: State, news: Sequence[int], old: State, olds: Sequence[int]) -> Pairs | None:
    """The pairs where both sides have the same names in the same order, each once: what most needs are."""
    if len(news) != len(olds) or len(news) > FEW:
        return None
    names = [new.steps[one][:3] for one in news]
    if names != [old.steps[one][:3] for one in olds] or len(set(names)) != len(names):
        return None
    return list(zip(news, olds, strict=True))


def _by_group(
    new: View, news: list[int], old: View, olds: list[int], depth: int, pairs: Pairs
) -> tuple[list[int], list[int]]:
    groups: dict[object, tuple[list[int], list[int]]] = {}
    for one in news:
        groups.setdefault(new.state.steps[one][:depth], ([], []))[0].append(one)
    for one in olds:
        groups.setdefault(old.state.steps[one][:depth], ([], []))[1].append(one)
    left: list[int] = []
    gone: list[int] = []
    for these, those in groups.values():
        rest = _in_group(new, these, old, those, pairs) if these and those else (these, those)
        left += rest[0]
        gone += rest[1]
    return sorted(left), sorted(gone)


def _in_group(
    new: View, news: list[int], old: View, olds: list[int], pairs: Pairs
) -> tuple[Sequence[int], Sequence[int]]:
    left, gone = news, olds
    if len(news) > 1 or len(olds) > 1 or new.state.steps[news[0]].mnemonic in FETCHES:
        left, gone = _matched(news, olds, lambda one: _token(new, one), lambda one: _token(old, one), pairs)
    if any(_named(new, one) for one in left) and any(_named(old, one) for one in gone):
        return left, gone  # a package is never another package
    both = min(len(left), len(gone))
    pairs += zip(left, gone, strict=False)
    return left[both:], gone[both:]


def _token(view: View, number: int) -> object:
    """What tells a step from others of its target and mnemonic."""
    step = view.state.steps[number]
    trace = view.trace(step.key)
    subject = subject_of(step, trace)
    if subject is not None or trace is None:
        return subject and subject.name
    inputs = [one for one in trace.entries if one.source]
    return frozenset((one.name.split()[1], place_of(one)) for one in inputs)


def _named(view: View, number: int) -> bool:
    step = view.state.steps[number]
    return step.mnemonic in FETCHES and subject_of(step, view.trace(step.key)) is not None


def _matched(
    news: list[int],
    olds: list[int],
    new_key: Callable[[int], object],
    old_key: Callable[[int], object],
    pairs: Pairs,
) -> tuple[list[int], list[int]]:
    """Pair what has equal names; returns what is left over."""
    waiting: dict[object, list[int]] = {}
    for one in reversed(olds):
        waiting.setdefault(old_key(one), []).append(one)
    left = []
    for one in news:
        known = waiting.get(new_key(one))
        if known:
            pairs.append((one, known.pop()))
        else:
            left.append(one)
    return left, sorted(one for rest in waiting.values() for one in rest)
