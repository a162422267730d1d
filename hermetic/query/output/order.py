"""The order of an answer: ``auto`` by label, but a path as it goes; ``deps`` and ``full`` dependents first;
``no`` as it comes."""

from __future__ import annotations

from collections.abc import Sequence

from hermetic.query.graph import Digraph, Nodes
from hermetic.query.syntax import Call, Expression

ORDERS = ("auto", "deps", "full", "no")


def ordered(graph: Digraph, nodes: Nodes, how: str, expression: Expression) -> Sequence[int]:
    """The nodes as a sequence. ``deps`` is one of the orders it may be: that of ``full``."""
    if how == "no":
        return list(nodes)
    path = isinstance(expression, Call) and expression.function == "somepath"
    if how == "auto" and not path:
        return sorted(nodes)
    return [node for node in graph.dependency_order(nodes) if node in nodes]
