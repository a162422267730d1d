"""What the executor says of what takes time: every lookup, every action, and its phases inside it."""

from __future__ import annotations

import json
from typing import Any

from hermetic.action import Mode
from hermetic.spans import Recorder, Span


def told(world: Any, *names: str) -> list[Span]:
    world.spans = recorder = Recorder()
    with recorder.span("execute"):
        world.build(*names)
    return recorder.spans


def named(spans: list[Span], name: str) -> list[Span]:
    return [one for one in spans if one.name == name]


def test_a_build_tells_of_its_lookups_and_its_actions(world) -> None:
    world.add("a", world.source("a.txt", "one"))
    world.add("b", "a")
    spans = told(world, "b")
    numbers = {one.number: one for one in spans}
    assert [one.attributes["label"] for one in named(spans, "look")] == ["//:a", "//:b"]
    assert {one.attributes["outcome"] for one in named(spans, "look")} == {"miss"}
    (execute,) = named(spans, "execute")
    for one in named(spans, "action"):
        assert one.attributes.keys() >= {"key", "outcome", "cpus", "jobs", "peak_bytes", "cpu_s"}
        assert (one.track, one.parent) == ("run", execute.number)
        inside = [each for each in spans if each.parent == one.number]
        assert {each.name for each in inside} >= {"sets up", "stores", "hash outputs"}
        assert all(one.since <= each.since <= each.until <= one.until for each in inside)
    (hashed,) = named(spans, "hash sources")
    assert hashed.attributes == {"files": 1, "bytes": 3}
    assert numbers[hashed.parent].name == "key"


def test_a_second_build_tells_of_hits(world) -> None:
    world.add("a")
    told(world, "a")
    spans = told(world, "a")
    (look,) = named(spans, "look")
    assert look.attributes["outcome"] == "hit-local"
    assert named(spans, "action") == []


def test_a_failure_says_its_outcome_and_nothing_of_its_message(world) -> None:
    world.sandbox.commands["bad"] = lambda spec, work, cancel: 3
    world.add("bad")
    spans = told(world, "bad")
    (action,) = named(spans, "action")
    assert action.attributes["outcome"] == "failed"
    assert "exit" not in json.dumps([dict(one.attributes) for one in spans])


def test_a_fetch_names_the_actions_it_is_for(world) -> None:
    world.content["//:x"] = b"data"
    world.add("x", mode=Mode.FETCH, argv=("http", json.dumps({"url": "u"})), unkeyed="{}")
    spans = told(world, "x")
    (fetch,) = named(spans, "fetch")
    assert fetch.attributes == {"operation": "http", "actions": ("x",)}
    assert fetch.track == "fetch"
