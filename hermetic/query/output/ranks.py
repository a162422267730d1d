"""Nodes with their distance from the roots of the answer: over the shortest path, or over the longest.

Roots are nodes that nothing in the answer leads to. Nodes that lead to one another have one rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hermetic.query.catalogue import Shown
from hermetic.query.output.induced import compact, induced


def minrank(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    return _ranked(catalogue, nodes, min)


def maxrank(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    return _ranked(catalogue, nodes, max)


def _ranked(catalogue: Shown, nodes: Sequence[int], better: Callable[[int, int], int]) -> Iterator[str]:
    ranks = ranks_of(catalogue, nodes, better)
    for rank, node in sorted(zip(ranks, nodes, strict=True)):
        yield f"{rank} {catalogue.name(node)}"


def ranks_of(catalogue: Shown, nodes: Sequence[int], better: Callable[[int, int], int]) -> list[int]:
    """The rank of each node, in the order of ``nodes``."""
    graph = compact(induced(catalogue.graph, nodes))
    components = graph.components(range(len(graph)))
    home = [0] * len(graph)
    for number, component in enumerate(components):
        for node in component:
            home[node] = number
    ranks: list[int | None] = [None] * len(components)
    for number in range(len(components) - 1, -1, -1):  # each before all it leads to
        rank = ranks[number] or 0
        ranks[number] = rank
        for node in components[number]:
            for target in graph.successors(node):
                below = home[target]
                if below != number:
                    known = ranks[below]
                    ranks[below] = rank + 1 if known is None else better(known, rank + 1)
    return [ranks[home[node]] or 0 for node in range(len(graph))]
