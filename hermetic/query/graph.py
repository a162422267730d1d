"""A directed graph of integers, and the closures queries ask for.

Edges lie in one array (compressed rows): those of node n from ``offsets[n]`` up to ``offsets[n + 1]``.
Every question below is answered in time and memory linear in nodes and edges, without recursion and
without ever listing paths, of which there can be exponentially many.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

Nodes = AbstractSet[int]


@dataclass(frozen=True)
class Digraph:
    """``offsets`` has one entry more than there are nodes."""

    offsets: Sequence[int]
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def successors(self, node: int) -> Sequence[int]:
        return self.targets[self.offsets[node] : self.offsets[node + 1]]

    @cached_property
    def reverse(self) -> Digraph:
        """The same graph with every edge turned round; successors are in ascending order."""
        count = len(self)
        places = [0] * (count + 1)
        for target in self.targets:
            places[target + 1] += 1
        for node in range(count):
            places[node + 1] += places[node]
        offsets = array("i", places)
        sources = array("i", bytes(4 * len(self.targets)))
        ends = self.offsets
        at = 0
        for node in range(count):
            end = ends[node + 1]
            for target in self.targets[at:end]:
                place = places[target]
                sources[place] = node
                places[target] = place + 1
            at = end
        return Digraph(offsets, sources)

    def without(self, drop: Callable[[int], bool]) -> Digraph:
        """The graph without the edges (by their number) that ``drop`` names."""
        offsets, targets = array("i", [0]), array("i")
        for node in range(len(self)):
            targets.extend(self.targets[at] for at in range(self.offsets[node], self.offsets[node + 1]) if not drop(at))
            offsets.append(len(targets))
        return Digraph(offsets, targets)

    # --- closures --------------------------------------------------------------------------------

    def closure(self, start: Iterable[int], within: Nodes | None = None) -> set[int]:
        """``start`` and everything that can be reached from it. ``within``: nothing else is entered."""
        seen = set(start) if within is None else set(start) & within
        waiting = list(seen)
        offsets, targets = self.offsets, self.targets
        take, add, push = waiting.pop, seen.add, waiting.append
        while waiting:
            node = take()
            for target in targets[offsets[node] : offsets[node + 1]]:
                if target not in seen and (within is None or target in within):
                    add(target)
                    push(target)
        return seen

    def levels(self, start: Iterable[int], depth: int, within: Nodes | None = None) -> tuple[set[int], set[int]]:
        """What can be reached from ``start`` over at most ``depth`` edges; and of that, what was reached
        last, so that its own edges were not looked at."""
        seen = set(start) if within is None else set(start) & within
        last = set(seen)
        for _ in range(depth):
            following: set[int] = set()
            for node in last:
                following.update(self.successors(node))
            following -= seen
            if within is not None:
                following &= within
            if not following:
                return seen, following
            seen |= following
            last = following
        return seen, last

    def between(self, start: Nodes, goal: Nodes) -> set[int]:
        """Every node on any path from ``start`` to ``goal``: what both closures have in common."""
        ahead = self.closure(start)
        return self.reverse.closure(goal & ahead, ahead)

    def path(self, start: Nodes, goal: Nodes) -> list[int]:
        """The nodes of a shortest path from ``start`` to ``goal``, the first one by numbers; or none."""
        came: dict[int, int] = dict.fromkeys(sorted(start), -1)
        row = list(came)
        while row:
            for node in row:
                if node in goal:
                    return _trace(came, node)
            following = []
            for node in row:
                for target in self.successors(node):
                    if target not in came:
                        came[target] = node
                        following.append(target)
            row = following
        return []

    # --- orders ----------------------------------------------------------------------------------

    def dependency_order(self, nodes: Iterable[int]) -> list[int]:
        """All nodes reachable from ``nodes``, dependents first: the reverse of a depth-first post-order that
        begins at each node, and follows its edges, in ascending order."""
        seen: set[int] = set()
        done: list[int] = []
        for start in sorted(nodes):
            if start in seen:
                continue
            seen.add(start)
            stack = [(start, iter(sorted(self.successors(start))))]
            while stack:
                node, edges = stack[-1]
                for target in edges:
                    if target not in seen:
                        seen.add(target)
                        stack.append((target, iter(sorted(self.successors(target)))))
                        break
                else:
                    done.append(node)
                    stack.pop()
        done.reverse()
        return done

    def components(self, nodes: Collection[int]) -> list[list[int]]:
        """The strongly connected components of the graph restricted to ``nodes``, each after all that it
        leads to."""
        inside = nodes if isinstance(nodes, AbstractSet) else set(nodes)
        order = self._dependents_first(inside)
        return self._components(inside) if len(order) < len(inside) else [[node] for node in reversed(order)]

    def _dependents_first(self, inside: Nodes) -> list[int]:
        """The nodes in an order where every edge leads forwards, as far as there is one (Kahn's algorithm):
        all of them if there is no circle."""
        users = dict.fromkeys(inside, 0)
        for node in inside:
            for target in self.successors(node):
                if target in users:
                    users[target] += 1
        order = [node for node in sorted(inside) if not users[node]]
        for node in order:
            for target in self.successors(node):
                if target in users:
                    users[target] -= 1
                    if not users[target]:
                        order.append(target)
        return order

    def _components(self, inside: Nodes) -> list[list[int]]:
        """``components`` by Tarjan's algorithm, with a stack of its own."""
        order: dict[int, int] = {}
        low: dict[int, int] = {}
        waiting: list[int] = []
        on_stack: set[int] = set()
        found: list[list[int]] = []
        for start in sorted(inside):
            if start in order:
                continue
            calls = [(start, iter(self.successors(start)))]
            order[start] = low[start] = len(order)
            waiting.append(start)
            on_stack.add(start)
            while calls:
                node, edges = calls[-1]
                for target in edges:
                    if target not in inside:
                        continue
                    if target not in order:
                        order[target] = low[target] = len(order)
                        waiting.append(target)
                        on_stack.add(target)
                        calls.append((target, iter(self.successors(target))))
                        break
                    if target in on_stack:
                        low[node] = min(low[node], order[target])
                else:
                    calls.pop()
                    if calls:
                        above = calls[-1][0]
                        low[above] = min(low[above], low[node])
                    if low[node] == order[node]:
                        at = _last_index(waiting, node)
                        component = waiting[at:]
                        del waiting[at:]
                        on_stack.difference_update(component)
                        found.append(component)
        return found


def _last_index(values: list[int], value: int) -> int:
    """Where ``value`` lies, looked for from the end: a component is on top of the stack."""
    at = len(values) - 1
    while values[at] != value:
        at -= 1
    return at


def _trace(came: dict[int, int], node: int) -> list[int]:
    path = []
    while node >= 0:
        path.append(node)
        node = came[node]
    return path[::-1]
