"""The JSON form of an action graph: written by the loader child, read by a parent that trusts nothing.

Reading is strict: unknown fields, wrong types and dangling references are an InternalError. Plain
lists and dicts, no pydantic: a graph may have ten thousand actions.
"""

from __future__ import annotations

import json
from dataclasses import fields
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
            return SourceFile(path)
        case ["sources", str(base), list(files)]:
            return SourceTree(base, tuple(map(_text, files)))
        case ["inline", str(text), bool(executable)]:
            return Inline(text, executable)
        case ["inside", list(tree), str(path), str(kind)]:
            inner = ref_from(tree)
            if isinstance(inner, Made):
                return Inside(inner, path, Kind(kind))
    raise InternalError(f"not a reference: {data!r}")


def _input_object(one: Input) -> list[Any]:
    return [one.path, ref_object(one.ref), one.writable, one.name, one.executable]


def action_object(action: Action) -> dict[str, Any]:
    """Every field of an action, in JSON's types."""
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
    }


_SIMPLE = ("id", "label", "mnemonic", "cwd", "uid", "timeout", "unkeyed", "test")


def _action_from(data: dict[str, Any]) -> Action:
    _exact(data, Action)
    simple = {name: data[name] for name in _SIMPLE}
    for name, value in simple.items():
        wanted = int if name in ("uid", "timeout") else bool if name == "test" else str
        if type(value) is not wanted:
            raise InternalError(f"action field {name} is {value!r}")
    return Action(
        **simple,
        location=_location(data["location"]),
        mode=Mode(data["mode"]),
        root=Root(data["root"]),
        argv=tuple(map(_text, data["argv"])),
        outputs=tuple(Output(_text(n), _text(p), Kind(k)) for n, p, k in data["outputs"]),
        inputs=tuple(
            Input(_text(path), ref_from(ref), bool(writable), _text(name), bool(executable))
            for path, ref, writable, name, executable in data["inputs"]
        ),
        env=_pairs(data["env"]),
        platform=_pairs(data["platform"]),
        settings=_pairs(data["settings"]),
    )


def _target_object(target: TargetNode) -> dict[str, Any]:
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


def _target_from(data: dict[str, Any]) -> TargetNode:
    _exact(data, TargetNode)
    return TargetNode(
        id=_text(data["id"]),
        label=_text(data["label"]),
        rule=_text(data["rule"]),
        location=_location(data["location"]),
        settings=_pairs(data["settings"]),
        deps=tuple(map(_text, data["deps"])),
        actions=tuple(map(_text, data["actions"])),
        outputs=tuple((_text(name), ref_from(ref)) for name, ref in data["outputs"]),
        layout=_text(data["layout"]),
        tags=tuple(map(_text, data["tags"])),
        test=bool(data["test"]),
        lock=_text(data["lock"]),
    )


def graph_object(graph: ActionGraph) -> dict[str, Any]:
    return {
        "actions": [action_object(action) for action in graph.actions.values()],
        "targets": [_target_object(target) for target in graph.targets.values()],
        "requested": list(graph.requested),
    }


def graph_from(data: Any) -> ActionGraph:
    """Read what ``graph_object`` made. Raises InternalError for anything else."""
    try:
        actions = {action.id: action for action in map(_action_from, data["actions"])}
        targets = {target.id: target for target in map(_target_from, data["targets"])}
        graph = ActionGraph(actions, targets, tuple(map(_text, data["requested"])))
    except (KeyError, TypeError, ValueError) as error:
        raise InternalError(f"the loader's answer is not an action graph: {error!r}") from None
    _check_references(graph)
    return graph


def graph_to_json(graph: ActionGraph) -> str:
    return json.dumps(graph_object(graph), ensure_ascii=False, separators=(",", ":"))


def graph_from_json(text: str | bytes) -> ActionGraph:
    return graph_from(json.loads(text))


def made_in(ref: Ref) -> Made | None:
    """The action output a reference depends on, if it does."""
    if isinstance(ref, Inside):
        return ref.tree
    return ref if isinstance(ref, Made) else None


def _check_references(graph: ActionGraph) -> None:
    declared = {(action.id, output.name) for action in graph.actions.values() for output in action.outputs}
    refs = [one.ref for action in graph.actions.values() for one in action.inputs]
    refs += [ref for target in graph.targets.values() for _, ref in target.outputs]
    for ref in refs:
        made = made_in(ref)
        if made is not None and (made.action, made.output) not in declared:
            raise InternalError(f"the graph has no output {made.output!r} of {made.action}")
    for wanted in graph.requested:
        if wanted not in graph.targets:
            raise InternalError(f"the graph has no target {wanted}")


def _exact(data: dict[str, Any], cls: type) -> None:
    if set(data) != {one.name for one in fields(cls)}:
        raise InternalError(f"{cls.__name__} has the fields {sorted(data)}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InternalError(f"{value!r} is not text")
    return value


def _pairs(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple((_text(name), _text(value)) for name, value in values)


def _location(data: Any) -> Location:
    path, line = data
    return Location(_text(path), int(line))
