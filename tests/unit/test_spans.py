"""Spans: they nest, they end, they cost nothing unheard, and another process's are not believed."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import check

from hermetic.report.timeline import Timeline
from hermetic.report.trace import events
from hermetic.spans import LONGEST_NAME, UNHEARD, Recorder


class Clock:
    """A second passes at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_spans_of_a_thread_nest_and_end_however_their_block_ends() -> None:
    recorder = Recorder(Clock())
    with pytest.raises(KeyError), recorder.span("outer", label="//:a") as outer, recorder.span("inner"):
        outer.say(outcome="built")
        raise KeyError("a message nobody should see in a trace")
    outer_span, inner = recorder.spans
    assert (outer_span.parent, inner.parent) == (0, outer_span.number)
    assert outer_span.since < inner.since < inner.until < outer_span.until
    assert outer_span.attributes == {"label": "//:a", "outcome": "built", "error": "KeyError"}
    assert not inner.outer


def test_what_other_threads_do_belongs_to_what_the_first_one_does() -> None:
    recorder = Recorder(Clock())

    def work() -> None:
        with recorder.span("look"):
            recorder.past("key", recorder.began, recorder.began + 0.5)

    with recorder.span("execute"):
        thread = threading.Thread(target=work, name="look_7")
        thread.start()
        thread.join()
    execute, look, key = recorder.spans
    assert (look.parent, look.track, look.outer) == (execute.number, "look", True)
    assert (key.parent, key.track, key.outer) == (look.number, "look", False)


def test_many_threads_lose_nothing() -> None:
    recorder = Recorder()

    def work() -> None:
        for _ in range(200):
            with recorder.span("one"), recorder.span("two"):
                recorder.count("n", {"x": 1})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = recorder.spans
    assert len({one.number for one in found}) == len(found) == 8 * 200 * 2
    assert len(recorder.counts) == 8 * 200
    parents = {one.number: one for one in found}
    assert all(parents[one.parent].name == "one" for one in found if one.name == "two")


def test_unheard_is_one_object_that_keeps_nothing() -> None:
    one, two = UNHEARD.span("a", label="//:x"), UNHEARD.span("b")
    assert one is two
    with one as span:
        span.say(outcome="built")
    UNHEARD.adopt("loader", [["a", 1.0, 2.0, {}]], 0, 3)
    assert not UNHEARD.heard
    with pytest.raises(AttributeError):
        UNHEARD.anything = 1  # type: ignore[attr-defined]


def test_what_another_process_says_nests_as_it_did_there() -> None:
    there, here = Recorder(Clock()), Recorder(Clock())
    with there.span("analyse", label="//:a"), there.span("load package", package="//p"):
        pass
    with here.span("load"):
        here.adopt("loader", there.rows(), 0.0, 100.0)
    load, analyse, package = here.spans
    assert (analyse.parent, package.parent) == (load.number, analyse.number)
    assert package.attributes == {"package": "//p"}
    assert {analyse.track, package.track} == {"loader"}


LIES = [
    "spans", {"a": 1}, [None], [[]], [["a", 1.0]], [["a", "1", 2.0, {}]], [["a", math.nan, 2.0, {}]], [["a", 1.0, 2.0, []]],
    [[1, 1.0, 2.0, {}]],
]  # fmt: skip


@pytest.mark.parametrize("rows", LIES)
def test_what_is_no_span_is_dropped(rows: Any) -> None:
    recorder = Recorder()
    recorder.adopt("loader", rows, 0.0, 1.0)
    assert recorder.spans == []


numbers = st.floats() | st.floats(0, 20)
rows = st.tuples(
    st.text(), numbers, numbers, st.dictionaries(st.text(), st.none() | st.text() | st.floats() | st.integers())
)


@given(st.lists(rows.map(list), max_size=20))
def test_another_process_can_spoil_neither_times_nor_lanes(lies: list[Any]) -> None:
    recorder = Recorder(lambda: 5.0)
    recorder.adopt("loader", lies, 5.0, 15.0)
    found = recorder.spans
    assert all(5.0 <= one.since <= one.until <= 15.0 for one in found)
    assert all(len(one.name) <= LONGEST_NAME for one in found)
    check(events(Timeline(5.0, 0.0, found)))
