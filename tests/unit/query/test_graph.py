"""Closures against a naive model: sets of sets, paths listed one by one."""

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hermetic.query.graph import Digraph
from hermetic.query.output.induced import WIDTH, induced

SIZE = 9
edges = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), max_size=24)
nodes = st.frozensets(st.integers(0, SIZE - 1), max_size=4)


def graph_of(pairs: list[tuple[int, int]], size: int = SIZE) -> Digraph:
    offsets, targets = array("i", [0]), array("i")
    for node in range(size):
        targets.extend(target for source, target in pairs if source == node)
        offsets.append(len(targets))
    return Digraph(offsets, targets)


def naive(pairs: list[tuple[int, int]], start: frozenset[int], steps: int = SIZE + 1) -> set[int]:
    found = set(start)
    for _ in range(steps):
        found |= {target for source, target in pairs if source in found}
    return found


def turned(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(target, source) for source, target in pairs]


def acyclic(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(source, target) for source, target in pairs if source < target]


@given(edges, nodes)
def test_closure(pairs: list[tuple[int, int]], start: frozenset[int]) -> None:
    assert graph_of(pairs).closure(start) == naive(pairs, start)


@given(edges, nodes, st.integers(0, 5))
def test_levels(pairs: list[tuple[int, int]], start: frozenset[int], depth: int) -> None:
    found, last = graph_of(pairs).levels(start, depth)
    assert found == naive(pairs, start, depth)
    assert last <= found
    assert naive(pairs, frozenset(found - last), 1) <= found  # what was opened leads nowhere else


@given(edges, nodes, st.frozensets(st.integers(0, SIZE - 1)))
def test_closure_within(pairs: list[tuple[int, int]], start: frozenset[int], within: frozenset[int]) -> None:
    inside = [(source, target) for source, target in pairs if source in within and target in within]
    graph = graph_of(pairs)
    assert graph.closure(start, within) == naive(inside, start & within)
    assert graph.levels(start, 2, within)[0] == naive(inside, start & within, 2)


@given(edges)
def test_reverse(pairs: list[tuple[int, int]]) -> None:
    reverse = graph_of(pairs).reverse
    for node in range(SIZE):
        assert list(reverse.successors(node)) == sorted(source for source, target in pairs if target == node)


@given(edges, nodes, nodes)
def test_between(pairs: list[tuple[int, int]], start: frozenset[int], goal: frozenset[int]) -> None:
    """Every node on a path: reached from the start, reaching the goal."""
    assert graph_of(pairs).between(start, goal) == naive(pairs, start) & naive(turned(pairs), goal)


@given(edges, nodes, nodes)
def test_path(pairs: list[tuple[int, int]], start: frozenset[int], goal: frozenset[int]) -> None:
    path = graph_of(pairs).path(start, goal)
    if not naive(pairs, start) & goal:
        assert path == []
        return
    assert path[0] in start and path[-1] in goal
    assert all(step in pairs for step in pairwise(path))
    assert not naive(pairs, start, len(path) - 2) & goal or len(path) == 1  # none is shorter


@given(edges, nodes)
def test_dependency_order(pairs: list[tuple[int, int]], start: frozenset[int]) -> None:
    pairs = acyclic(pairs)
    order = graph_of(pairs).dependency_order(start)
    assert set(order) == naive(pairs, start)
    place = {node: at for at, node in enumerate(order)}
    assert all(place[source] < place[target] for source, target in pairs if source in place)


@given(edges, st.frozensets(st.integers(0, SIZE - 1)))
def test_components(pairs: list[tuple[int, int]], inside: frozenset[int]) -> None:
    inner = [(source, target) for source, target in pairs if source in inside and target in inside]
    components = graph_of(pairs).components(inside)
    assert sorted(node for one in components for node in one) == sorted(inside)
    home = {node: at for at, one in enumerate(components) for node in one}
    for node in inside:
        together = naive(inner, frozenset({node})) & naive(turned(inner), frozenset({node}))
        assert {other for other in inside if home[other] == home[node]} == together
    assert all(home[target] <= home[source] for source, target in inner)  # after all that it leads to


@given(edges, st.frozensets(st.integers(0, SIZE - 1)))
def test_induced(pairs: list[tuple[int, int]], inside: frozenset[int]) -> None:
    """An edge where a path leads from one to another and every node between lies outside."""
    rows = induced(graph_of(pairs), sorted(inside))
    for node in inside:
        first = frozenset(target for source, target in pairs if source == node)
        outside = [(source, target) for source, target in pairs if source not in inside]
        assert rows[node] == sorted(naive(outside, first) & inside)


def test_a_wide_answer_behind_one_node_outside() -> None:
    """More goals than fit into one round of bits."""
    count = WIDTH + 10
    pairs = array("i", range(2, count + 2))
    graph = Digraph(array("i", [0, 1, 1 + count, *[1 + count] * count]), array("i", [1]) + pairs)
    rows = induced(graph, [0, *range(2, count + 2)])
    assert rows[0] == list(range(2, count + 2))


def test_a_chain_of_a_hundred_thousand_needs_no_stack() -> None:
    count = 100_000
    chain = Digraph(array("i", [*range(count), count - 1]), array("i", range(1, count)))
    assert len(chain.closure({0})) == count
    assert chain.path({0}, {count - 1}) == list(range(count))
    assert chain.dependency_order({0}) == list(range(count))
    assert len(chain.components(range(count))) == count
    loop = Digraph(array("i", range(count + 1)), array("i", [*range(1, count), 0]))
    assert len(loop.components(range(count))) == 1
    assert len(loop.between({5}, {5})) == count


def test_a_ladder_with_more_paths_than_atoms() -> None:
    """Two nodes on each of 500 levels, all of one leading to both of the next: 2**500 paths."""
    levels = 500
    targets = array("i", [low for level in range(levels - 1) for low in (2 * level + 2, 2 * level + 3) * 2])
    graph = Digraph(array("i", [*range(0, 4 * levels - 3, 2), *[4 * levels - 4] * 2]), targets)
    assert graph.between({0}, {2 * levels - 1}) == set(range(2 * levels)) - {1, 2 * levels - 2}
    assert len(graph.path({0}, {2 * levels - 1})) == levels
