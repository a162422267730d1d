"""What functions and formats may ask about the nodes of a graph, whatever its nodes are.

``hermetic.query.targets`` answers for unconfigured targets, ``hermetic.query.configured`` for configured
ones. Nodes are integers; ascending numbers are the order of labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hermetic.errors import HbError, Location
from hermetic.pattern import Pattern
from hermetic.query.graph import Digraph


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target pattern of a query. ``files``: it names files, too (``:*``)."""

    pattern: Pattern
    files: bool


class Shown(Protocol):
    """The nodes of one graph, as formats need them."""

    @property
    def graph(self) -> Digraph: ...
    def name(self, node: int) -> str:
        """What outputs call it: the label, with the configuration where there is one."""
        ...

    def kind(self, node: int) -> str: ...
    def package(self, node: int) -> str: ...
    def location(self, node: int) -> Location: ...
    def attributes(self, node: int) -> Mapping[str, Any]:
        """A target's attributes as written, see ``hermetic.query.values``; empty for anything else."""
        ...

    def describe(self, node: int) -> dict[str, Any]:
        """Everything worth telling about a node, in JSON's types."""
        ...


class Catalogue(Shown, Protocol):
    """The nodes of one graph, as functions need them. Errors about a pattern are raised without a column."""

    @property
    def faults(self) -> Mapping[int, Sequence[HbError]]:
        """What is wrong with the edges of a node; of no interest until somebody follows them."""
        ...

    @property
    def circles(self) -> Sequence[Sequence[int]]:
        """Loops of targets that no select and no transition can undo."""
        ...

    def match(self, wanted: Wanted) -> tuple[set[int], Sequence[HbError]]:
        """The nodes a pattern names, and what could not be loaded of it."""
        ...

    def label(self, node: int) -> str:
        """The label without a configuration."""
        ...

    def in_packages(self, packages: Iterable[str]) -> set[int]:
        """All nodes of the packages, files too."""
        ...

    def labelled(self, node: int, attribute: str) -> Iterable[int]:
        """The nodes that an attribute of a target names."""
        ...

    def texts(self, node: int, attribute: str) -> list[str]:
        """Every text the attribute may stand for, defaults included; none when there is no such attribute."""
        ...

    def visibility(self, node: int) -> Sequence[str]:
        """Who may name a target: entries of ``visibility``."""
        ...

    def attribute_names(self) -> Iterable[str]:
        """Of all rules in the graph."""
        ...

    def is_test(self, node: int) -> bool: ...
    def loads(self, package: str) -> set[int]:
        """The files that a package's BUILD.py imports."""
        ...

    def build_files(self, packages: Iterable[str]) -> set[int]:
        """The BUILD.py of each of the packages."""
        ...
