"""A profile: lanes without overlap, phases inside their action, the critical path marked."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hermetic.action import Action, ActionGraph, Input, Kind, Made, Mode
from hermetic.errors import Location
from hermetic.execution.outcome import BuildResult, Finished, Outcome
from hermetic.execution.schedule_grant import Grant
from hermetic.report.trace import ACTIONS, Profile, critical_path


def action(name: str, *needs: str) -> Action:
    inputs = tuple(Input(f"/in{number}", Made(need, "out", Kind.TREE)) for number, need in enumerate(needs))
    return Action(name, f"//:{name}", "Make", Location("BUILD.py", 1), Mode.COMMAND, ("true",), (), inputs)


def grant(name: str, since: float) -> Grant:
    return Grant(threading.Event(), name=name, since=since, phases=[("sets up", since), ("runs", since + 0.1)])


def profile(*spans: tuple[str, float, float]) -> Profile:
    found = Profile(began=0.0)
    found.grants = [(grant(name, since), end) for name, since, end in spans]
    return found


def test_the_critical_path_is_what_the_last_one_waited_for() -> None:
    actions = {one.id: one for one in (action("a"), action("b"), action("c", "a", "b"), action("d"))}
    assert critical_path(ActionGraph(actions), {"a": 1.0, "b": 5.0, "c": 9.0, "d": 8.0}) == ["b", "c"]
    assert critical_path(ActionGraph(actions), {}) == []


def test_the_file_is_a_trace(tmp_path: Path) -> None:
    actions = {one.id: one for one in (action("a"), action("b", "a"))}
    finished = {name: Finished(one, Outcome.BUILT) for name, one in actions.items()}
    found = profile(("a", 1.0, 2.0), ("b", 2.0, 4.0))
    found.stage("load and analyse", 0.0)
    found.count("memory", {"actions": 7})
    found.write(tmp_path / "trace.json", ActionGraph(actions), BuildResult("1", finished, 4.0))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = {one["name"]: one for one in events if one["ph"] == "X"}
    assert (spans["//:b Make"]["ts"], spans["//:b Make"]["dur"]) == (2_000_000, 2_000_000)
    assert spans["//:b Make"]["args"]["critical"] and spans["//:b Make"]["args"]["outcome"] == "built"
    assert {"load and analyse", "sets up", "runs"} <= set(spans)
    assert [one["args"] for one in events if one["ph"] == "C"] == [{"actions": 7}]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30))
def test_lanes_never_overlap(times: list[tuple[int, int]]) -> None:
    spans = [(f"a{number}", float(since), float(since + length)) for number, (since, length) in enumerate(times)]
    graph = ActionGraph({name: action(name) for name, _, _ in spans})
    events = profile(*spans).events(graph, BuildResult("1", {}, 1.0))
    lanes: dict[int, float] = {}
    whole = [one for one in events if one["ph"] == "X" and one["pid"] == ACTIONS and one["name"].startswith("a")]
    assert len(whole) == len(spans)
    for one in sorted(whole, key=lambda one: one["ts"]):
        assert lanes.get(one["tid"], 0) <= one["ts"]
        lanes[one["tid"]] = one["ts"] + one["dur"]
