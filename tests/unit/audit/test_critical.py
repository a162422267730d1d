"""The critical path of a past build, against every chain of small graphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.audit.critical import stretches
from hermetic.execution.records import State, Step

step = st.tuples(st.lists(st.integers(0, 9), max_size=3), st.none() | st.integers(0, 9))  # no time: a hit
graphs = st.lists(step, min_size=1, max_size=9)


def state(needs: list[list[int]]) -> State:
    return State(tuple(Step(f"//:s{n}", "Make", "", "", tuple(sorted(set(one)))) for n, one in enumerate(needs)))


@given(graphs)
def test_it_is_the_longest_chain_and_what_is_won_is_exact(plan: list[tuple[list[int], int | None]]) -> None:
    needs = [[one for one in wanted if one < number] for number, (wanted, _) in enumerate(plan)]
    ran = {number: float(seconds) for number, (_, seconds) in enumerate(plan) if seconds is not None}

    def longest(times: dict[int, float]) -> float:
        until: dict[int, float] = {}
        for number, wanted in enumerate(needs):
            until[number] = times.get(number, 0.0) + max((until[one] for one in wanted), default=0.0)
        return max((until[number] for number in times), default=0.0)

    found = stretches(state(needs), ran)
    assert sum(one.seconds for one in found) == longest(ran)
    for one in found:
        number = int(one.title.split()[0].removeprefix("//:s"))
        assert one.won == pytest.approx(longest(ran) - longest({**ran, number: 0.0}))


def test_hits_are_not_in_it_but_on_its_way() -> None:
    found = stretches(state([[], [0], [1]]), {0: 2.0, 2: 5.0})
    assert [(one.title, one.won) for one in found] == [("//:s0 Make", 2.0), ("//:s2 Make", 5.0)]
    assert stretches(state([[]]), {}) == []


def test_a_long_chain_in_a_large_graph_is_no_matter() -> None:
    count = 20_000
    found = stretches(
        state([[number - 1] if number else [] for number in range(count)]), dict.fromkeys(range(count), 1.0)
    )
    assert len(found) == count
    assert {one.won for one in found} == {1.0}
