"""What builds leave behind for explanations: traces, command lines, and where each input came from."""

from __future__ import annotations

from typing import Any

import pytest

from hermetic.audit.past import Past
from hermetic.audit.subject import subject_of
from hermetic.digest import Digest
from hermetic.execution.records import Trace
from hermetic.proto import reapi_pb2 as pb


@pytest.fixture
def first(world: Any) -> Any:
    return world.history.heads()[0]


def trace_of(world: Any, head: Any, title: str) -> Trace:
    past = Past(world.history, world.store)
    step = next(one for one in past.view(head).state.steps if one.title == title)
    found = past.trace(step.key)
    assert found is not None
    return found


def test_every_command_line_is_in_the_store(world: Any, first: Any) -> None:
    past = Past(world.history, world.store)
    steps = past.view(first).state.steps
    assert len(steps) > 15
    for step in steps:
        trace = past.trace(step.key)
        assert trace is not None, step
        assert pb.Command.FromString(world.store.read(Digest.parse(trace.command))).arguments


def test_inputs_say_where_they_come_from(world: Any, first: Any) -> None:
    sources = {entry.source for entry in trace_of(world, first, "//app:app Compile").entries}
    assert {"file app/main.c", "inline", "made //lib:lib#Compile out", "made //app:upstream#git out"} <= sources
    assert "tree lib" in {entry.source for entry in trace_of(world, first, "//lib:lib Compile").entries}


def test_a_fetch_knows_what_people_call_it(world: Any, first: Any) -> None:
    past = Past(world.history, world.store)
    found = {str(subject_of(step, past.trace(step.key))) for step in past.view(first).state.steps}
    assert {"package libc6-dev:amd64 2.36-9+deb12u9", "base image registry.example.org/base:1"} <= found


def test_a_trace_is_found_in_the_records_when_its_result_is_gone(world: Any, first: Any) -> None:
    wanted = trace_of(world, first, "//lib:lib Compile")
    for path in (world.store.root / "ac").rglob("*"):
        if path.is_file():
            path.unlink()
    assert trace_of(world, first, "//lib:lib Compile") == wanted


def test_a_failed_action_keeps_its_trace(world: Any) -> None:
    world.edit([{"path": "app/BUILD.py", "replace": ['flags = ["--check"]', 'command = "fail"']}])
    broken = world.build("//app:on_base", keep_going=True)
    answer = world.why(broken, "//app:on_base")
    assert [(cause.kind, cause.text) for cause, _, _ in answer.explanation.roots()] == [
        ("command", "command of //app:on_base Compile")
    ]
    assert answer.counts()["failed"] == 1


def test_what_a_failure_stopped_says_so(world: Any) -> None:
    world.edit([{"path": "lib/BUILD.py", "replace": ["flags = flags(2),", 'flags = flags(2),\n    command = "fail",']}])
    answer = world.why(world.build("//app:image", keep_going=True), "//app:image")
    texts = {cause.kind for cause, _, _ in answer.explanation.roots()}
    assert texts == {"command", "skipped"}
    assert answer.counts()["skipped"] >= 2


def test_a_new_target_is_explained_by_what_asks_for_it(world: Any) -> None:
    text = 'compile(name = "on_base"'
    new = f'compile(name = "extra", srcs = ["other.c"])\n{text}'
    world.edit(
        [
            {"path": "app/BUILD.py", "replace": [text, new]},
            {
                "path": "app/BUILD.py",
                "replace": ['"//lib:stable", ":upstream"', '"//lib:stable", ":upstream", ":extra"'],
            },
        ]
    )
    answer = world.why(world.build("//app:image"), "//app:image")
    (row,) = answer.explanation.roots()
    assert row[0].text == "dependency //app:extra added"
    assert row[0].through == "app/BUILD.py"


def test_the_same_target_under_two_settings_is_not_mixed_up(world: Any) -> None:
    world.build("//app:image", settings={"cuda": "13"})
    world.edit([{"path": "app/main.c", "text": "int main4;\n"}])
    answer = world.why(world.build("//app:image"), "//app:image")
    assert [cause.text for cause, _, _ in answer.explanation.roots()] == ["source app/main.c edited"]
