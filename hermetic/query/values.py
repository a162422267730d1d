"""Attribute values as the loader packs them, and what they look like.

JSON's own types stand for themselves; ``{"dict": pairs}`` is a dict, ``{"select": pairs}`` a select() with
its branches, ``{"add": parts}`` a sum. A text of a value is what ``attr()`` matches: lists are ``[a, b]``,
dicts ``{k=v, …}``, as in Bazel; labels are absolute. Where a select decides, there are several texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice, product
from typing import Any

from hermetic.errors import BuildFileError, Location
from hermetic.loading.select import Select, SelectList

ALTERNATIVES = 64  # texts of one value that are told apart; beyond that all branches are taken together
Rename = Callable[[str], str]


def same(text: str) -> str:
    return text


def texts(value: Any, rename: Rename = same) -> list[str]:
    """Every text that ``value`` may stand for. ``rename`` makes labels absolute."""
    return list(dict.fromkeys(text for one in _plain_values(value) for text in _forms(one, rename)))


def _forms(value: Any, rename: Rename) -> list[str]:
    if isinstance(value, bool):  # as Bazel says it, and as Python does
        return [str(int(value)), str(value)]
    return [text_of(value, rename)]


def text_of(value: Any, rename: Rename = same) -> str:
    """The text of a value without selects."""
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, list):
        return f"[{', '.join(text_of(one, rename) for one in value)}]"
    if isinstance(value, dict):
        pairs = (f"{key}={text_of(one, rename)}" for key, one in value.get("dict", []))
        return f"{{{', '.join(pairs)}}}"
    return str(value)


def _plain_values(value: Any) -> list[Any]:
    """The values without selects that ``value`` may become."""
    if isinstance(value, dict) and "select" in value:
        return [plain for _, branch in value["select"] for plain in _plain_values(branch)]
    if isinstance(value, dict) and "add" in value:
        parts = [_plain_values(part) for part in value["add"]]
        sums = [_sum(chosen) for chosen in islice(product(*parts), ALTERNATIVES + 1)]
        return sums if len(sums) <= ALTERNATIVES else [_sum([one for part in parts for one in part])]
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        items = [_plain_values(one) for one in value]
        found = [list(chosen) for chosen in islice(product(*items), ALTERNATIVES + 1)]
        return found if len(found) <= ALTERNATIVES else [[one for item in items for one in item]]
    if isinstance(value, dict) and "dict" in value:
        rows = [_plain_values(one) for _, one in value["dict"]]
        keys = [key for key, _ in value["dict"]]
        return [{"dict": list(zip(keys, chosen, strict=True))} for chosen in islice(product(*rows), ALTERNATIVES)]
    return [value]


def _sum(parts: list[Any] | tuple[Any, ...]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        if isinstance(total, dict) and isinstance(part, dict):
            total = {"dict": [*total["dict"], *part["dict"]]}
        elif type(total) is type(part) and isinstance(total, str | list | int):
            total = total + part
        else:
            total = f"{total}{part}"
    return total


def unpacked(value: Any, path: str) -> Any:
    """The value as the loader had it, with real dicts and selects. ``path``: of the BUILD.py."""
    if isinstance(value, list):
        return [unpacked(one, path) for one in value]
    if not isinstance(value, dict):
        return value
    if "select" in value:
        branches = {key: unpacked(one, path) for key, one in value["select"]}
        return Select(branches, Location(path, int(value.get("line", 0))))
    if "add" in value:
        return SelectList(tuple(unpacked(part, path) for part in value["add"]))
    return {key: unpacked(one, path) for key, one in value["dict"]}


def plain(value: Any) -> Any:
    """The value for JSON: dicts are objects, a select is ``{"select": {condition: value}}``, a sum
    ``{"add": [parts]}``."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "select" in value:
        return {"select": {key: plain(one) for key, one in value["select"]}}
    if "add" in value:
        return {"add": [plain(part) for part in value["add"]]}
    return {key: plain(one) for key, one in value["dict"]}


def packed_again(value: Any) -> Any:
    """A value without selects in the packed form."""
    if isinstance(value, list | tuple):
        return [packed_again(one) for one in value]
    if isinstance(value, Mapping):
        return {"dict": [[key, packed_again(one)] for key, one in value.items()]}
    if isinstance(value, Select | SelectList):
        raise BuildFileError("a select() is left over")
    return value


def source(value: Any, indent: int = 4) -> str:
    """The value as it would stand in a BUILD.py."""
    if isinstance(value, list):
        return _bracketed("[", [source(one, indent + 4) for one in value], "]", indent)
    if not isinstance(value, dict):
        return _quoted(value)
    if "select" in value:
        return f"select({_pairs(value['select'], indent)})"
    if "add" in value:
        return " + ".join(source(part, indent) for part in value["add"])
    return _pairs(value["dict"], indent)


def _pairs(pairs: list[Any], indent: int) -> str:
    return _bracketed("{", [f"{_quoted(key)}: {source(one, indent + 4)}" for key, one in pairs], "}", indent)


def _bracketed(start: str, items: list[str], end: str, indent: int) -> str:
    line = f"{start}{', '.join(items)}{end}"
    if "\n" not in line and (len(items) < 2 or len(line) + indent <= 80):
        return line
    inner = " " * (indent + 4)
    return f"{start}\n" + "".join(f"{inner}{item},\n" for item in items) + f"{' ' * indent}{end}"


def _quoted(value: Any) -> str:
    """A text in double quotes, anything else as Python writes it."""
    if not isinstance(value, str):
        return repr(value)
    inner = "".join(_ESCAPES.get(char) or (char if char.isprintable() else repr(char)[1:-1]) for char in value)
    return f'"{inner}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
