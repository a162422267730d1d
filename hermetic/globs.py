"""Globs over the paths of a tree, walked one component at a time.

``*``, ``?`` and ``[…]`` match inside one component, ``**`` any number of components. A pattern that
matches a directory covers everything below it. Matching by components lets a walk over a Merkle
tree skip, or take whole, every directory whose fate is decided, without opening it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from hermetic.errors import UserError

_Part: TypeAlias = re.Pattern[str] | None  # None stands for "**"
State: TypeAlias = frozenset[tuple[int, int]]  # (pattern, how many of its components are behind us)
COVERED: State = frozenset({(-1, 0)})  # this and everything below it matches
DEAD: State = frozenset()  # nothing below can match


@dataclass(frozen=True)
class Globs:
    """A set of patterns. ``start`` is the state at the root of a tree."""

    patterns: tuple[str, ...]
    _parts: tuple[tuple[_Part, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", tuple(_compile(pattern) for pattern in self.patterns))

    @staticmethod
    def of(patterns: Iterable[str]) -> Globs:
        return Globs(tuple(patterns))

    @property
    def start(self) -> State:
        return self._closed({(number, 0) for number in range(len(self._parts))})

    def step(self, state: State, name: str) -> State:
        """The state inside (or at) the entry ``name`` of a directory in ``state``."""
        if state is COVERED or state is DEAD:
            return state
        reached: set[tuple[int, int]] = set()
        for number, at in state:
            part = self._parts[number][at]
            if part is None:
                reached.add((number, at))
            elif part.fullmatch(name):
                reached.add((number, at + 1))
        return self._closed(reached)

    def covers(self, path: str) -> bool:
        """Whether ``path`` (relative, ``/`` between components) is matched or lies below a match."""
        state = self.start
        for name in path.split("/") if path else ():
            state = self.step(state, name)
        return state is COVERED

    def _closed(self, reached: set[tuple[int, int]]) -> State:
        pending = list(reached)
        while pending:
            number, at = pending.pop()
            parts = self._parts[number]
            if at == len(parts):
                return COVERED
            if parts[at] is None and (number, at + 1) not in reached:
                reached.add((number, at + 1))
                pending.append((number, at + 1))
        return frozenset(reached) or DEAD


def _compile(pattern: str) -> tuple[_Part, ...]:
    names = [name for name in pattern.split("/") if name]
    if any(name in (".", "..") for name in names) or "\0" in pattern:
        raise UserError(f"not a glob of a tree: {pattern!r}", hint="write it relative to the tree, without . and ..")
    return tuple(None if name == "**" else re.compile(fnmatch.translate(name)) for name in names)
