"""Where a query is evaluated: the graph, the options, and what goes wrong on the way.

Guarantees: a fault of the graph (a package that cannot be loaded, a label that leads nowhere) is an error
only when the query comes across it. With ``keep_going`` it is kept in ``errors`` and the query goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from hermetic.errors import CommandLineError, HbError, QueryError
from hermetic.pattern import ALL, Pattern
from hermetic.query.catalogue import Catalogue, Wanted
from hermetic.query.graph import Nodes
from hermetic.query.lexer import problem
from hermetic.query.syntax import Word

Matches = Callable[[str], object]


class ActionTable(Protocol):
    """The actions behind targets, as numbers; and texts of them that queries match."""

    def of(self, nodes: Nodes) -> set[int]:
        """The actions of some targets."""
        ...

    def owners(self, action: int) -> set[int]:
        """The targets an action belongs to: several when it is the same in several configurations."""
        ...

    def mnemonic(self, action: int) -> str: ...
    def inputs(self, action: int) -> Iterable[str]:
        """Paths in the workspace and in the sandbox, and labels of the targets that make them."""
        ...

    def outputs(self, action: int) -> Iterable[str]: ...


@dataclass
class Environment:
    """``package``: what relative patterns belong to. ``universe``: patterns for ``allrdeps``. ``actions``:
    where there are any. ``as_actions``: the answer is made of actions, not of targets."""

    catalogue: Catalogue
    package: str = ""
    universe: Sequence[str] = ("//...",)
    keep_going: bool = False
    actions: ActionTable | None = None
    as_actions: bool = False
    errors: list[HbError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    # --- words -----------------------------------------------------------------------------------

    def targets(self, word: Word) -> set[int]:
        """The nodes of a target pattern."""
        try:
            found, faults = self.catalogue.match(wanted(word.text, self.package))
        except HbError as error:
            self.fault(_placed(error, word))
            return set()
        for fault in faults:
            self.fault(fault)
        if not found and not faults:
            self.note(f"{word.text} matches no target")
        return found

    @cached_property
    def everything(self) -> set[int]:
        """The closure of the universe."""
        start: set[int] = set()
        for text in self.universe:
            start |= self.targets(Word(text, 0))
        return self.reach(start)

    def regex(self, word: Word) -> Matches:
        """A test for texts that hold a match of the regular expression, anywhere."""
        try:
            return re.compile(word.text).search
        except (re.error, RecursionError, OverflowError) as error:
            raise problem(f"{word.text[:100]!r} is not a regular expression: {error}", word.column) from None

    # --- the graph -------------------------------------------------------------------------------

    def reach(self, start: Nodes, depth: int | None = None) -> set[int]:
        """``start`` and its dependencies, over at most ``depth`` edges; faults of all that was passed."""
        graph = self.catalogue.graph
        if depth is None:
            found = graph.closure(start)
            self.pass_through(found)
            return found
        found, unopened = graph.levels(start, depth)
        self.pass_through(found - unopened)
        return found

    def pass_through(self, nodes: Nodes) -> None:
        """Meet the faults of nodes whose edges are followed."""
        faults = self.catalogue.faults
        for node in sorted(faults.keys() & nodes):
            for error in faults[node]:
                self.fault(error)
        for circle in self.catalogue.circles:
            if circle[0] in nodes:
                self.note(_loop(self.catalogue, circle))

    def fault(self, error: HbError) -> None:
        if not self.keep_going:
            raise error
        if not any(str(error) == str(other) for other in self.errors):
            self.errors.append(error)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def wanted(text: str, package: str) -> Wanted:
    """The target pattern that a word is. Raises QueryError without a column."""
    if text.startswith("-"):
        raise QueryError(f"{text!r} takes targets away", hint="write: all - these")
    try:
        pattern = Pattern.parse(text, package)
    except CommandLineError as error:
        raise QueryError(error.message, hint=error.hint) from None
    name = text.rpartition(":")[2] if ":" in text else ""
    return Wanted(pattern, pattern.name is None and name in ALL and name != "all")


def _placed(error: HbError, word: Word) -> HbError:
    """An error about the word itself gets its column; one of a BUILD.py has a place of its own."""
    if error.location is not None or not word.column:
        return error
    return problem(error.message, word.column, error.hint)


def _loop(catalogue: Catalogue, circle: Sequence[int]) -> str:
    labels = " → ".join(catalogue.name(node) for node in (*circle, circle[0]))
    places = "; ".join(f"{catalogue.name(node)} is at {catalogue.location(node)}" for node in circle)
    return f"targets depend on each other in a circle: {labels}\n  → take one of these dependencies away: {places}"
