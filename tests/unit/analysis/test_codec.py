"""The action graph's JSON form: what goes in comes out, and nothing else comes in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.action import (
    Action,
    ActionGraph,
    Inline,
    Input,
    Inside,
    Kind,
    Made,
    Mode,
    Output,
    Root,
    SourceFile,
    SourceTree,
    TargetNode,
)
from hermetic.analysis.codec import needs_of
from hermetic.analysis.lines import GraphLines, Known, action_line, graph_in, target_line
from hermetic.errors import InternalError, Location
from hermetic.execution.frontend import answer_in, lines_in

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text("abcXYZ019._- é", min_size=1, max_size=8).filter(lambda text: text.strip(". "))
relative = st.lists(names, min_size=1, max_size=4).map("/".join)
absolute = relative.map(lambda path: f"/{path}")
pairs = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
places = st.builds(Location, texts, st.integers(0, 9999))
kinds = st.sampled_from(Kind)


def refs(made: list[Made]) -> st.SearchStrategy[Any]:
    sources = st.one_of(
        st.builds(SourceFile, relative),
        st.builds(SourceTree, relative, st.lists(relative, max_size=3).map(tuple)),
        st.builds(Inline, texts, st.booleans()),
    )
    if not made:
        return sources
    return st.one_of(sources, st.sampled_from(made), st.builds(Inside, st.sampled_from(made), texts, kinds))


@st.composite
def graphs(draw: st.DrawFn) -> ActionGraph:
    """Graphs whose actions and targets use earlier ones only, as analysis makes them."""
    actions: dict[str, Action] = {}
    made: list[Made] = []
    for index in range(draw(st.integers(0, 4))):
        outputs = draw(st.lists(st.builds(Output, texts, absolute, kinds), max_size=3, unique_by=lambda one: one.name))
        inputs = draw(st.lists(st.builds(Input, absolute, refs(made), st.booleans(), texts, st.booleans()), max_size=3))
        key = f"{draw(texts)}#{index}"
        actions[key] = Action(
            key, draw(texts), draw(texts), draw(places), draw(st.sampled_from(Mode)),
            tuple(draw(st.lists(texts, max_size=3))), tuple(outputs), tuple(inputs), draw(pairs), draw(absolute),
            draw(st.sampled_from(Root)), draw(st.integers(0, 2**31)), draw(pairs), draw(st.integers(0, 10**6)),
            draw(texts), draw(st.booleans()), draw(pairs),
        )  # fmt: skip
        made += [Made(key, one.name, one.kind) for one in outputs]
    targets: dict[str, TargetNode] = {}
    some_refs = st.lists(st.tuples(texts, refs(made)), max_size=2).map(tuple)
    for index in range(draw(st.integers(0, 3))):
        key = f"//p:{index}{draw(texts)}"
        some = st.lists(st.sampled_from(sorted(targets)), max_size=2).map(tuple) if targets else st.just(())
        own = st.lists(st.sampled_from(sorted(actions)), max_size=2).map(tuple) if actions else st.just(())
        targets[key] = TargetNode(
            key, f"//p:{index}", draw(texts), draw(places), draw(pairs), draw(some), draw(own), draw(some_refs),
            draw(texts), tuple(draw(st.lists(texts, max_size=2))), draw(st.booleans()), draw(texts),
        )  # fmt: skip
    return ActionGraph(actions, targets, tuple(targets))


def lines_of(graph: ActionGraph) -> GraphLines:
    actions = [action_line(one) for one in graph.actions.values()]
    return GraphLines(actions, [target_line(one) for one in graph.targets.values()], graph.requested)


def known(lines: GraphLines) -> Known:
    graph = graph_in(lines)
    return Known(
        dict(zip(lines.actions, graph.actions, strict=True)),
        dict(zip(lines.targets, graph.targets, strict=True)),
        {name: needs_of(action) for name, action in graph.actions.items()},
    )


def same(found: ActionGraph, graph: ActionGraph) -> bool:
    """Whether all values are equal, and in the same order."""
    return [*found.actions.items(), *found.targets.items(), *found.requested] == [
        *graph.actions.items(),
        *graph.targets.items(),
        *graph.requested,
    ]


@given(graphs())
def test_round_trip(graph: ActionGraph) -> None:
    lines = lines_of(graph)
    found = graph_in(lines)
    assert same(found, graph)
    assert lines_of(found) == lines
    assert same(graph_in(lines, known(lines)), graph)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_anything_else_is_an_internal_error(data: Any) -> None:
    line = json.dumps(data).encode()
    for lines in (GraphLines([line], [], ()), GraphLines([], [line], ())):
        with pytest.raises(InternalError):
            graph_in(lines)


def small() -> dict[str, Any]:
    first = Action(
        "a#1", "//p:x", "Run", Location("p/BUILD.py", 1), Mode.COMMAND, ("true",),
        (Output("out", "/out", Kind.TREE),), (Input("/in", SourceFile("p/a.c")),), (("A", "1"),),
    )  # fmt: skip
    made = Made("a#1", "out", Kind.TREE)
    second = Action(
        "a#2", "//p:x", "Run", Location("p/BUILD.py", 1), Mode.COMMAND, ("true",), (Output("out", "/out", Kind.BLOB),),
        (Input("/in", made), Input("/one", Inside(made, "a", Kind.BLOB)), Input("/src", SourceTree("p", ("a.c",)))),
    )  # fmt: skip
    place = Location("p/BUILD.py", 1)
    x = TargetNode("//p:x", "//p:x", "run", place, (), ("//p:y",), ("a#1", "a#2"), (("out", made),))
    y = TargetNode("//p:y", "//p:y", "run", place, (), (), (), ())
    graph = ActionGraph({"a#1": first, "a#2": second}, {"//p:x": x, "//p:y": y}, ("//p:x",))
    lines = lines_of(graph)
    assert same(graph_in(lines), graph)
    return {
        "actions": [json.loads(one) for one in lines.actions],
        "targets": [json.loads(one) for one in lines.targets],
        "requested": list(lines.requested),
    }


def written(data: dict[str, Any]) -> GraphLines:
    lines = [[json.dumps(one, separators=(",", ":")).encode() for one in data[name]] for name in ("actions", "targets")]
    return GraphLines(lines[0], lines[1], tuple(data["requested"]))


@given(st.data(), json_values)
def test_a_changed_value_is_refused_or_means_itself(data: st.DataObject, value: Any) -> None:
    """Whatever one value is replaced by: an InternalError, or a graph that writes back the same."""
    graph = small()
    spot: Any = graph[data.draw(st.sampled_from(["actions", "targets"]))]
    while True:
        keys = sorted(spot) if isinstance(spot, dict) else list(range(len(spot)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(spot[key], dict | list) or not spot[key] or data.draw(st.booleans()):
            break
        spot = spot[key]
    spot[key] = value
    before = known(written(small()))
    try:
        found = graph_in(written(graph), before if data.draw(st.booleans()) else None)
    except InternalError:
        return
    assert lines_of(found) == written(graph)


def action(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["actions"][1].__setitem__(field, value)


def target(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["targets"][0].__setitem__(field, value)


def reads(ref: list[Any]) -> Callable[[dict[str, Any]], None]:
    return action("inputs", [["/in", ref, False, "", False]])


HOSTILE = {
    "a file above the workspace": reads(["file", "../secret"]),
    "an absolute file": reads(["file", "/etc/passwd"]),
    "a file around": reads(["file", "p/../../secret"]),
    "a file with NUL": reads(["file", "p\0"]),
    "sources above": reads(["sources", "..", ["secret"]]),
    "sources with upward files": reads(["sources", "p", ["../../secret"]]),
    "an absolute base": reads(["sources", "/etc", ["passwd"]]),
    "a made that nobody makes": reads(["made", "a#9", "out", "tree"]),
    "an output that is not declared": reads(["made", "a#1", "other", "tree"]),
    "an output of another kind": reads(["made", "a#1", "out", "blob"]),
    "inside a file": reads(["inside", ["file", "p/a.c"], "x", "blob"]),
    "an unknown reference": reads(["url", "x"]),
    "an action of itself": reads(["made", "a#2", "out", "blob"]),
    "an input upwards": action("inputs", [["/../x", ["file", "p/a.c"], False, "", False]]),
    "a writable of 1": action("inputs", [["/x", ["file", "p/a.c"], 1, "", False]]),
    "an output upwards": action("outputs", [["out", "/../../etc", "tree"]]),
    "a relative output": action("outputs", [["out", "etc", "tree"]]),
    "an unknown kind": action("outputs", [["out", "/out", "fifo"]]),
    "a current directory upwards": action("cwd", "/build/.."),
    "argv is text": action("argv", "true"),
    "argv holds a number": action("argv", ["true", 1]),
    "env is not pairs": action("env", ["AB"]),
    "uid is true": action("uid", True),
    "timeout is text": action("timeout", "1"),
    "an unknown mode": action("mode", "shell"),
    "an unknown root": action("root", "host"),
    "a field too many": action("network", True),
    "a field too few": lambda data: data["actions"][0].pop("uid"),
    "an action twice": lambda data: data["actions"].append(data["actions"][0]),
    "a target twice": lambda data: data["targets"].append(data["targets"][0]),
    "a request for nothing": lambda data: data.__setitem__("requested", ["//p:z"]),
    "a label upwards": target("label", "//../..:x"),
    "a label that is none": target("label", "x"),
    "a target of no action": target("actions", ["a#9"]),
    "a target of no target": target("deps", ["//p:z"]),
    "a target of itself": target("deps", ["//p:x"]),
    "tests by number": target("test", 1),
    "a line of text": target("location", ["p", "1"]),
}  # fmt: skip


@pytest.mark.parametrize("before", [None, known(written(small()))], ids=["cold", "warm"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer(name: str, before: Known | None) -> None:
    if before and name == "a target of itself":
        pytest.skip("what builds follow are actions: targets' circles are looked for in whole graphs only")
    data = small()
    HOSTILE[name](data)
    with pytest.raises(InternalError) as caught:
        graph_in(written(data), before)
    assert caught.value.exit_code == 37
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("before", [None, known(written(small()))], ids=["cold", "warm"])
def test_a_circle_of_two_actions(before: Known | None) -> None:
    data = small()
    data["actions"][0]["inputs"] = [["/in", ["made", "a#2", "out", "blob"], False, "", False]]
    with pytest.raises(InternalError, match="circle"):
        graph_in(written(data), before)


@pytest.mark.parametrize("line", [b"", b"{", b"[" * 100_000, b"null", b"\xff\xfe{"])
def test_what_is_no_line(line: bytes) -> None:
    for lines in (GraphLines([line], [], ()), GraphLines([], [line], ())):
        with pytest.raises(InternalError):
            graph_in(lines)


def test_an_answer_that_takes_away_what_is_used() -> None:
    """Lines that were known are not believed to fit a graph they were not in."""
    before = known(written(small()))
    for part, at in (("actions", 0), ("targets", 1)):
        data = small()
        del data[part][at]
        with pytest.raises(InternalError):
            graph_in(written(data), before)
    data = small()
    data["actions"][0]["outputs"] = [["out", "/out", "blob"]]  # under the id that users know
    with pytest.raises(InternalError, match="other outputs"):
        graph_in(written(data), before)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b"x", b'{"errors":[]}', b'{"errors":[],"graph":1}',
     b'{"errors":[],"graph":{"actions":1,"targets":0,"requested":[]}}',
     b'{"errors":[],"graph":{"actions":"","targets":"","requested":[]}}',
     b'{"errors":[],"graph":{"actions":0,"targets":0,"requested":[1]}}\n'],
)  # fmt: skip
def test_a_head_that_is_none(text: bytes) -> None:
    with pytest.raises(InternalError):
        lines_in(answer_in(text))
