"""Attribute values: which of them are dependencies, and rules made from checked values.

Errors speak of the BUILD.py line, the attribute, what was wanted and what was written.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from hermetic.analysis.rule import Edge, Rule
from hermetic.errors import AttributeError_, HbError, did_you_mean
from hermetic.loading.declare import Declaration, rule_name


@cache
def edges(rule: type[Rule]) -> Mapping[str, Edge]:
    """The attributes of a rule that are dependencies, in order of declaration."""
    found = {}
    for name, info in rule.model_fields.items():
        edge = next((one for one in info.metadata if isinstance(one, Edge)), None) or _edge_in(info.annotation)
        if edge is not None:
            found[name] = edge
    return found


def _edge_in(annotation: Any) -> Edge | None:
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, Edge):
            return meta
    for argument in typing.get_args(annotation):
        edge = _edge_in(argument)
        if edge is not None:
            return edge
    return None


def map_labels(value: Any, convert: Callable[[str], Any], declaration: Declaration, attr: str) -> Any:
    """``value`` with every string in it (in lists and dict values, too) converted. None stands for
    no dependency where the attribute's default is None."""
    if value is None and declaration.rule.model_fields[attr].default is None:  # type: ignore[attr-defined]
        return None
    if isinstance(value, str):
        try:
            return convert(value)
        except HbError as error:
            raise error.at(declaration.location, str(declaration.label)) from None
    if isinstance(value, list | tuple):
        return [map_labels(item, convert, declaration, attr) for item in value]
    if isinstance(value, dict):
        return {key: map_labels(item, convert, declaration, attr) for key, item in value.items()}
    raise AttributeError_(
        f"attribute {attr!r} of {rule_name(declaration.rule)} takes labels, not {_short(value)}",
        location=declaration.location,
        label=str(declaration.label),
    )


def instantiate(declaration: Declaration, values: Mapping[str, Any]) -> Rule:
    """The rule object. AttributeError_ with the first thing wrong."""
    try:
        rule: Rule = declaration.rule.model_validate({**values, "name": declaration.name})  # type: ignore[attr-defined]
        return rule
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _plain(declaration, first) from None


# pydantic's words, and those of people who write BUILD.py
_WORDS = {
    "a valid list": "a list",
    "a valid dictionary": "a dict",
    "a valid integer": "a whole number",
    "a valid string": "a string",
    "a valid boolean": "True or False",
}


def _plain(declaration: Declaration, problem: Mapping[str, Any]) -> AttributeError_:
    path = [str(part) for part in problem["loc"]]
    attr = path[0] if path else "?"
    place = "".join(f"[{part}]" for part in path[1:])
    said = str(problem["msg"]).removeprefix("Value error, ")
    wanted = said.removeprefix("Input should be ")
    value = problem.get("input")
    if len(path) == 1 and isinstance(declaration.attrs.get(attr), str):
        value = declaration.attrs[attr]  # as it is written there, not the target it names
    found = _short(value)
    about = f"attribute {attr!r}{place} of {rule_name(declaration.rule)}"
    plain = _WORDS.get(wanted, wanted)
    message = f"{about} should be {plain}, not {found}" if said != wanted else f"{about} is {found}: {said}"
    hint = f"write [{found}]" if plain == "a list" and isinstance(value, str) else None
    expected = problem.get("ctx", {}).get("expected")
    if isinstance(expected, str) and isinstance(problem.get("input"), str):
        hint = did_you_mean(problem["input"], [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")])
    return AttributeError_(message, location=declaration.location, label=str(declaration.label), hint=hint)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
