"""What hits were worth, and the longest way: on graphs made by hand and by chance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermetic.audit.account import account
from hermetic.execution.records import State, Step


def state(*needs: tuple[int, ...]) -> State:
    return State(tuple(Step(f"//:{n}", "Run", "", f"k{n}", one) for n, one in enumerate(needs)))


def test_the_longest_way_and_what_was_saved() -> None:
    diamond = state((), (0,), (0,), (1, 2))
    found = account(diamond, {0: 1.0, 1: 5.0, 2: 2.0, 3: 0.5}, [], {})
    assert (found.critical, found.path) == ((0, 1, 3), 6.5)
    found = account(diamond, {2: 2.0, 3: 0.5}, [0, 1], {1: 5.0, 3: 9.0})
    assert (found.critical, found.path) == ((2, 3), 2.5)
    assert (found.hits, found.timed, found.saved) == (2, 1, 5.0)


def test_a_way_goes_through_hits() -> None:
    """A hit is looked for when what it depends on has a result, so who waits for the hit waits for that."""
    found = account(state((), (0,), (1,)), {0: 1.0, 2: 3.0}, [1], {})
    assert (found.critical, found.path) == ((0, 2), 4.0)


def test_nothing_ran() -> None:
    assert account(state((), (0,)), {}, [0, 1], {}).critical == ()


@given(st.data())
def test_no_way_is_longer(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    needs = [tuple(sorted(data.draw(st.sets(st.integers(0, n - 1))) if n else ())) for n in range(count)]
    ran = data.draw(st.dictionaries(st.integers(0, count - 1), st.integers(0, 20).map(float)))
    found = account(state(*needs), ran, [], {})
    longest: dict[int, float] = {}
    behind: dict[int, set[int]] = {}
    for number in range(count):
        behind[number] = {*needs[number]}.union(*(behind[one] for one in needs[number]))
        longest[number] = ran.get(number, 0.0) + max((longest[one] for one in needs[number]), default=0.0)
    assert found.path == max((longest[one] for one in ran), default=0.0)
    assert all(need in behind[user] for need, user in zip(found.critical, found.critical[1:], strict=False))
