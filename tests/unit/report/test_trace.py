"""A trace: lanes without overlap, phases inside their action, the critical path marked."""

from __future__ import annotations

from pathlib import Path

import pytest
import traces
from hypothesis import given
from hypothesis import strategies as st

from hermetic.action import Action, ActionGraph, Input, Kind, Made, Mode
from hermetic.errors import Location
from hermetic.report.timeline import Timeline, critical_path, ends, placed
from hermetic.report.trace import CPUS, HB, events, write
from hermetic.spans import Count, Span, Value


def action(name: str, *needs: str) -> Action:
    inputs = tuple(Input(f"/in{number}", Made(need, "out", Kind.TREE)) for number, need in enumerate(needs))
    return Action(name, f"//:{name}", "Make", Location("BUILD.py", 1), Mode.COMMAND, ("true",), (), inputs)


def graph(*actions: Action) -> ActionGraph:
    return ActionGraph({one.id: one for one in actions})


def ran(number: int, name: str, since: float, until: float, **said: Value) -> Span:
    about: dict[str, Value] = {"action": name, "label": f"//:{name}", "mnemonic": "Make", "outcome": "built", **said}
    return Span(number, 0, "action", "run", True, since, until, about)


def timeline(*spans: Span, critical: tuple[str, ...] = ()) -> Timeline:
    return Timeline(0.0, 0.0, spans, (Count(1.5, "memory", {"actions": 7}),), critical)


def test_the_critical_path_is_what_the_last_one_waited_for() -> None:
    some = graph(action("a"), action("b"), action("c", "a", "b"), action("d"))
    assert critical_path(some, {"a": 1.0, "b": 5.0, "c": 9.0, "d": 8.0}) == ["b", "c"]
    assert critical_path(some, {}) == []


def test_it_goes_through_hits_because_their_users_waited_for_what_they_waited_for() -> None:
    some = graph(action("a"), action("hit", "a"), action("hit2", "hit"), action("b"), action("c", "hit2", "b"))
    assert critical_path(some, {"a": 5.0, "b": 2.0, "c": 9.0}) == ["a", "c"]


def test_an_action_that_ran_twice_ended_the_second_time() -> None:
    spans = [ran(1, "a", 0, 1, outcome="oom"), ran(2, "a", 2, 3)]
    assert ends(spans) == {"a": 3}
    assert list(timeline(*spans, critical=("a",)).on_path()) == [2]


def test_the_file_is_a_trace(tmp_path: Path) -> None:
    spans = (
        Span(1, 0, "build", "hb", True, 0.0, 4.0, {"verb": "build"}),
        ran(2, "a", 1.0, 2.0),
        Span(3, 2, "runs", "run", False, 1.5, 2.0, {}),
        ran(4, "b", 2.0, 4.0),
    )
    write(tmp_path / "trace.json", timeline(*spans, critical=("a", "b")))
    found = traces.read(tmp_path / "trace.json")
    (b,) = [one for one in traces.spans(found) if one["name"] == "//:b Make" and one["pid"] == CPUS]
    assert (b["ts"], b["dur"]) == (2_000_000, 2_000_000)
    assert b["args"]["critical"] and b["args"]["outcome"] == "built"
    path = [tid for tid, name in traces.lane_names(found).items() if name == "critical path"]
    assert [one["name"] for one in traces.spans(found) if one["tid"] in path] == ["//:a Make", "//:b Make"]
    assert {one["name"] for one in traces.spans(found) if one["pid"] == HB} >= {"build"}
    assert [one["args"] for one in found if one["ph"] == "C"] == [{"actions": 7}]


def test_an_action_with_two_cpus_has_two_lanes() -> None:
    rows = placed(timeline(ran(1, "a", 0, 5, cpus=2), ran(2, "b", 1, 2), ran(3, "c", 5, 6, cpus=1)), "run")
    assert [(row.span.attributes["action"], row.lane) for row in rows] == [("a", 0), ("b", 2), ("c", 0)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(1, 3)), max_size=30))
def test_lanes_never_overlap(times: list[tuple[int, int, int]]) -> None:
    spans = [ran(n, f"a{n}", at, at + length, cpus=cpus) for n, (at, length, cpus) in enumerate(times, start=1)]
    inner = [
        Span(1000 + one.number, one.number, "runs", "run", False, one.since, (one.since + one.until) / 2, {})
        for one in spans
    ]
    found = traces.check(events(timeline(*spans, *inner)))
    assert len(traces.spans(found)) == 2 * len(spans)


@given(st.lists(st.tuples(st.floats(-5, 50), st.floats(0, 20), st.booleans(), st.integers(0, 40)), max_size=40))
def test_whatever_the_spans_the_lanes_are_well_formed(lies: list[tuple[float, float, bool, int]]) -> None:
    spans = [
        Span(n, parent, "x", "t", outer, at, at + length, {}) for n, (at, length, outer, parent) in enumerate(lies)
    ]
    traces.check(events(timeline(*spans)))


@pytest.mark.parametrize(
    ("event", "what"),
    [
        ({"ph": "B", "name": "x", "pid": 1, "tid": 1, "ts": 1}, "B"),
        ({"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": 1.5, "dur": 1}, "1.5"),
        ({"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": 1, "dur": -1}, "-1"),
        ({"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": 1, "dur": 2}, "without a name"),
        ({"ph": "C", "name": "x", "pid": 1, "ts": 1, "args": {}}, "args"),
    ],
)
def test_the_reader_of_traces_is_strict(event: dict[str, object], what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        traces.check([event])
