"""The trace of a build in which a clock's every look is a millisecond: each field of each event."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from traces import check

from hermetic.action import Action, ActionGraph, Input, Kind, Made, Mode
from hermetic.errors import Location
from hermetic.report.timeline import Timeline, critical_path, ends
from hermetic.report.trace import events
from hermetic.spans import Recorder


def action(name: str, *needs: str) -> Action:
    inputs = tuple(Input(f"/in{number}", Made(need, "out", Kind.TREE)) for number, need in enumerate(needs))
    return Action(name, f"//:{name}", "Make", Location("BUILD.py", 1), Mode.COMMAND, ("true",), (), inputs)


GRAPH = ActionGraph({one.id: one for one in (action("src"), action("a", "src"), action("b", "a"), action("c"))})


def build() -> Timeline:
    ticks = itertools.count(1)
    recorder = Recorder(lambda: next(ticks) / 1000)

    def elsewhere(thread: str, work: Callable[[], None]) -> None:
        one = threading.Thread(target=work, name=thread)
        one.start()
        one.join()

    def look(name: str, outcome: str) -> None:
        with recorder.span("look", label=f"//:{name}", mnemonic="Make") as span:
            with recorder.span("key"), recorder.span("hash sources", files=3):
                pass
            with recorder.span("local cache") as cache:
                cache.say(result="miss")
            span.say(outcome=outcome, key="0" * 64)

    def run(name: str, outcome: str, cpus: int) -> None:
        with recorder.span("action", action=name, label=f"//:{name}", mnemonic="Make") as span:
            since = next(ticks) / 1000
            with recorder.span("stage", tree="1" * 64):
                pass
            recorder.count("memory", {"actions": 1024, "available": 4096.5})
            until = next(ticks) / 1000
            span.say(outcome=outcome, cpus=cpus, jobs=4, peak_bytes=1 << 20)
            recorder.past("sets up", since, until)
            recorder.past("runs", until, next(ticks) / 1000)

    def fetch() -> None:
        with recorder.span("fetch", operation="http", actions=("src",)):
            pass

    with recorder.span("build", verb="build", patterns=("//:b", "//:c")) as whole:
        with recorder.span("load"):
            start = next(ticks) / 1000
            child = [["analyse", start + 0.001, start + 0.009, {"label": "//:b"}]]
            child += [["load package", start + 0.002, start + 0.004, {"package": "//"}]]
            for _ in range(10):
                next(ticks)
            recorder.adopt("loader", child, start, next(ticks) / 1000)
        with recorder.span("execute"):
            elsewhere("fetch_0", fetch)
            elsewhere("look_0", lambda: look("c", "miss"))
            elsewhere("run_0", lambda: run("c", "built", 2))
            elsewhere("look_1", lambda: look("a", "hit-remote"))
            elsewhere("run_0", lambda: run("b", "failed", 1))
        whole.say(build_id="19700101-000000-1", actions=4)
    spans = recorder.spans
    return Timeline(recorder.began, 0.0, spans, recorder.counts, critical_path(GRAPH, ends(spans)))


def test_the_trace_is_what_it_was(golden) -> None:
    timeline = build()
    assert timeline.critical == ["src", "b"]
    golden.check("build", check(events(timeline)))
    golden.check_no_others(["build"])
