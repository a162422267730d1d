"""The critical path of a past build, against every chain of small graphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.audit.critical import stretches
from hermetic.execution.records import State, Step

graphs = st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=3), st.integers(0, 9)), min_size=1, max_size=8)


def state(needs: list[list[int]]) -> State:
    return State(tuple(Step(f"//:s{n}", "Make", "", "", tuple(sorted(set(one)))) for n, one in enumerate(needs)))


@given(graphs)
def test_it_is_the_longest_chain_and_what_is_won_is_exact(plan: list[tuple[list[int], int]]) -> None:
    needs = [[one for one in wanted if one < number] for number, (wanted, _) in enumerate(plan)]
    ran = {number: float(seconds) for number, (_, seconds) in enumerate(plan)}

    def longest(times: dict[int, float]) -> float:
        until: dict[int, float] = {}
        for number, wanted in enumerate(needs):
            until[number] = times[number] + max((until[one] for one in wanted), default=0.0)
        return max(until.values())

    found = stretches(state(needs), ran)
    assert sum(one.seconds for one in found) == longest(ran)
    for one in found:
        number = int(one.title.split()[0].removeprefix("//:s"))
        assert one.won == pytest.approx(longest(ran) - longest({**ran, number: 0.0}))


def test_steps_that_did_not_run_are_no_part_of_it() -> None:
    assert [one.title for one in stretches(state([[], [0], [1]]), {0: 2.0, 2: 5.0})] == ["//:s2 Make"]
    assert stretches(state([[]]), {}) == []
