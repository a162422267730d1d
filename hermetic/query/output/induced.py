"""The graph that a set of nodes makes among themselves.

There is an edge from a to b where b can be reached from a without passing another node of the set, so
that ``kind(image, deps(//x))`` still shows which image is made from which. Linear in the graph for
every ``WIDTH`` nodes of the set that lie behind others outside of it; plain linear when there are none.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from hermetic.query.graph import Digraph, Nodes

WIDTH = 4096  # nodes looked for at the same time, as the bits of one integer


def induced(graph: Digraph, nodes: Sequence[int]) -> dict[int, list[int]]:
    """Node → the nodes its edges lead to, ascending; the nodes in the order given."""
    inside = frozenset(nodes)
    rows = {node: {target for target in graph.successors(node) if target in inside} for node in nodes}
    between = _between(graph, inside)
    if between:
        order = graph.components(between)
        goals = sorted({target for node in between for target in graph.successors(node) if target in inside})
        for start in range(0, len(goals), WIDTH):
            _add(graph, rows, order, goals[start : start + WIDTH])
    return {node: sorted(row) for node, row in rows.items()}


def compact(rows: Mapping[int, Sequence[int]]) -> Digraph:
    """The rows as a graph whose nodes are numbered in the order of the rows."""
    number = {node: at for at, node in enumerate(rows)}
    offsets, targets = array("i", [0]), array("i")
    for row in rows.values():
        targets.extend(number[target] for target in row)
        offsets.append(len(targets))
    return Digraph(offsets, targets)


def _between(graph: Digraph, inside: Nodes) -> set[int]:
    """The nodes outside that lie on a path from one inside to one inside."""
    ahead = graph.closure(inside)
    if len(ahead) == len(inside):
        return set()
    outside = {node for node in ahead - inside if graph.offsets[node] != graph.offsets[node + 1]}
    if not outside:
        return set()
    return graph.reverse.closure(inside, ahead) & outside


def _add(graph: Digraph, rows: dict[int, set[int]], order: Sequence[Sequence[int]], goals: Sequence[int]) -> None:
    """Add the edges to ``goals`` that lead through the components in ``order``."""
    bit = {goal: 1 << at for at, goal in enumerate(goals)}
    found: dict[int, int] = {}
    for component in order:
        bits = 0
        for node in component:
            for target in graph.successors(node):
                bits |= bit.get(target, 0) | found.get(target, 0)
        for node in component:
            found[node] = bits
    for node, row in rows.items():
        bits = 0
        for target in graph.successors(node):
            bits |= found.get(target, 0)
        while bits:
            low = bits & -bits
            row.add(goals[low.bit_length() - 1])
            bits ^= low
