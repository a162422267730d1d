"""The JSON form of actions and targets: written by the loader child, read by a parent that trusts nothing.

Reading is strict: unknown fields, wrong types, dangling references, circles, and paths that lead out
of the workspace or of an action's root are an InternalError. Plain lists and dicts, no pydantic: a
graph may have ten thousand actions.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

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
    Ref,
    Root,
    SourceFile,
    SourceTree,
    TargetNode,
)
from hermetic.errors import InternalError, Location
from hermetic.label import Label
from hermetic.secret import fault


def ref_object(ref: Ref) -> list[Any]:
    if isinstance(ref, Made):
        return ["made", ref.action, ref.output, ref.kind.value]
    if isinstance(ref, SourceFile):
        return ["file", ref.path]
    if isinstance(ref, SourceTree):
        return ["sources", ref.base, list(ref.files)]
    if isinstance(ref, Inline):
        return ["inline", ref.text, ref.executable]
    return ["inside", ref_object(ref.tree), ref.path, ref.kind.value]


def ref_from(data: list[Any]) -> Ref:
    match data:
        case ["made", str(action), str(output), str(kind)]:
            return Made(action, output, Kind(kind))
        case ["file", str(path)]:
            return SourceFile(_below(path))
        case ["sources", str(base), list(files)]:
            return SourceTree(_below(base) if base else base, tuple(map(_below, files)))
        case ["inline", str(text), bool(executable)]:
            return Inline(text, executable)
        case ["inside", ["made", str(action), str(output), str(made_kind)], str(path), str(kind)]:
            return Inside(Made(action, output, Kind(made_kind)), path, Kind(kind))
    raise InternalError(f"not a reference: {str(data)[:200]}")


def _input_object(one: Input) -> list[Any]:
    return [one.path, ref_object(one.ref), one.writable, one.name, one.executable]


def action_object(action: Action) -> dict[str, Any]:
    """Every field of an action, in JSON's types; a rare one only where it says something."""
    return {
        **{name: getattr(action, name) for name in _SIMPLE},
        "location": [action.location.path, action.location.line],
        "mode": action.mode.value,
        "root": action.root.value,
        "argv": list(action.argv),
        "outputs": [[o.name, o.path, o.kind.value] for o in action.outputs],
        "inputs": [_input_object(one) for one in action.inputs],
        "env": [list(pair) for pair in action.env],
        "platform": [list(pair) for pair in action.platform],
        "settings": [list(pair) for pair in action.settings],
        **{name: _plain(value) for name in _RARE if (value := getattr(action, name))},
    }


def _plain(value: Any) -> Any:
    """Tuples as JSON's lists."""
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


_ODD = frozenset(("", ".", ".."))
_SIMPLE = ("id", "label", "mnemonic", "cwd", "uid", "timeout", "unkeyed", "test")
# Not written when they are so.
_RARE: Mapping[str, Any] = {
    "resources": [],
    "secrets": [],
    "secret_generation": "",
    "launchers": [],
    "compile_cache": False,
}


def action_from(data: dict[str, Any]) -> Action:
    data = {**_RARE, **data}
    _exact(data, Action)
    _check_secrets(data)
    simple = {name: data[name] for name in _SIMPLE}
    _absolute(data["cwd"])
    for name, value in simple.items():
        wanted = int if name in ("uid", "timeout") else bool if name == "test" else str
        if type(value) is not wanted:
            raise InternalError(f"action field {name} is {value!r}")
    return Action(
        **simple,
        location=_location(data["location"]),
        mode=Mode(data["mode"]),
        root=Root(data["root"]),
        argv=_texts(data["argv"]),
        outputs=tuple(Output(_text(n), _absolute(p), Kind(k)) for n, p, k in _list(data["outputs"])),
        inputs=tuple(
            Input(_absolute(path), ref_from(ref), _bool(writable), _text(name), _bool(executable))
            for path, ref, writable, name, executable in _list(data["inputs"])
        ),
        env=_pairs(data["env"]),
        platform=_pairs(data["platform"]),
        settings=_pairs(data["settings"]),
        resources=_pairs(data["resources"]),
        secrets=_texts(data["secrets"]),
        secret_generation=_text(data["secret_generation"]),
        launchers=_pairs(data["launchers"]),
        compile_cache=_bool(data["compile_cache"]),
    )


def _check_secrets(data: Mapping[str, Any]) -> None:
    """Who runs BUILD code does not decide who gets a secret: the child checked the same."""
    names, mode = _texts(data["secrets"]), Mode(data["mode"])
    wrong = fault(names, _text(data["secret_generation"]), command=mode is Mode.COMMAND)
    if names and mode is Mode.INTERNAL:
        wrong = "an operation of hb needs no secrets"
    if wrong:
        raise InternalError(f"an action of {str(data['label'])[:200]}: {wrong}")


def target_object(target: TargetNode) -> dict[str, Any]:
    return {
        "id": target.id,
        "label": target.label,
        "rule": target.rule,
        "location": [target.location.path, target.location.line],
        "settings": [list(pair) for pair in target.settings],
        "deps": list(target.deps),
        "actions": list(target.actions),
        "outputs": [[name, ref_object(ref)] for name, ref in target.outputs],
        "layout": target.layout,
        "tags": list(target.tags),
        "test": target.test,
        "lock": target.lock,
    }


def target_from(data: dict[str, Any]) -> TargetNode:
    _exact(data, TargetNode)
    return TargetNode(
        id=_text(data["id"]),
        label=str(Label.parse(_text(data["label"]))),
        rule=_text(data["rule"]),
        location=_location(data["location"]),
        settings=_pairs(data["settings"]),
        deps=_texts(data["deps"]),
        actions=_texts(data["actions"]),
        outputs=tuple((_text(name), ref_from(ref)) for name, ref in _list(data["outputs"])),
        layout=_text(data["layout"]),
        tags=_texts(data["tags"]),
        test=_bool(data["test"]),
        lock=_text(data["lock"]),
    )


@contextmanager
def no_collection() -> Iterator[None]:
    """Half the time of reading a large graph would be the garbage collector finding no garbage."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def made_in(ref: Ref) -> Made | None:
    """The action output a reference depends on, if it does."""
    if isinstance(ref, Inside):
        return ref.tree
    return ref if isinstance(ref, Made) else None


def check_references(graph: ActionGraph) -> None:
    """Raises InternalError for whatever refers to nothing, and for circles."""
    check_made(graph, (one.ref for action in graph.actions.values() for one in action.inputs))
    check_targets(graph, graph.targets)
    check_circles({key: needs_of(action) for key, action in graph.actions.items()})
    check_circles({target.id: target.deps for target in graph.targets.values()})


def check_made(graph: ActionGraph, refs: Iterable[Ref]) -> None:
    for made in filter(None, map(made_in, refs)):
        maker = graph.actions.get(made.action)
        if maker is None or not any((one.name, one.kind) == (made.output, made.kind) for one in maker.outputs):
            raise InternalError(f"the graph has no output {made.output!r} of {made.action} that is a {made.kind}")


def check_targets(graph: ActionGraph, names: Iterable[str]) -> None:
    """What these targets refer to, and what was requested."""
    wanted = list(graph.requested)
    for name in names:
        target = graph.targets[name]
        check_made(graph, (ref for _, ref in target.outputs))
        wanted += target.deps
        for key in target.actions:
            if key not in graph.actions:
                raise InternalError(f"the graph has no action {key}")
    for name in wanted:
        if name not in graph.targets:
            raise InternalError(f"the graph has no target {name}")


def needs_of(action: Action) -> list[str]:
    return [made.action for one in action.inputs if (made := made_in(one.ref)) is not None]


def check_circles(needs: Mapping[str, Sequence[str]]) -> None:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise InternalError(f"the graph has a circle: {' → '.join(error.args[1])}"[:500]) from None


def _exact(data: dict[str, Any], cls: type) -> None:
    if not isinstance(data, dict) or set(data) != _names(cls):
        raise InternalError(f"not a {cls.__name__}: {str(data)[:200]}")


@cache
def _names(cls: type) -> frozenset[str]:
    return frozenset(one.name for one in fields(cls))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InternalError(f"{str(value)[:200]} is not text")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InternalError(f"{str(value)[:200]} is not true or false")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InternalError(f"{str(value)[:200]} is not a list")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(values)))


def _pairs(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple((_text(name), _text(value)) for name, value in map(_list, _list(values)))


def _absolute(path: Any) -> str:
    """A path in an action's root: absolute and normalised."""
    if _text(path) != "/" and (path[:1] != "/" or not _normal(path[1:])):
        raise InternalError(f"{path!r} is not an absolute, normalised path")
    return str(path)


def _below(path: Any) -> str:
    """A path in the workspace: relative, normalised, never upwards."""
    if not _normal(_text(path)):
        raise InternalError(f"{path!r} is not a path in the workspace")
    return str(path)


def _normal(path: str) -> bool:
    return "\0" not in path and _ODD.isdisjoint(path.split("/"))


def _location(data: Any) -> Location:
    path, line = _list(data)
    if type(line) is not int:
        raise InternalError(f"{str(line)[:200]} is not a line number")
    return Location(_text(path), line)
