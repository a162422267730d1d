"""The unconfigured target graph as one block of bytes: a string table and arrays of integers.

The loader child writes it, the parent checks and keeps it, and ``hb query`` maps it into memory: four
hundred thousand nodes cost a few reads, and what a query does not need (attribute texts) is never read.

Nodes are numbered in the order of (package, name), so that numbers in ascending order are labels in
order, and the nodes of a package are a range. Edges lie in one array; node n's are those from
``offsets[n]`` up to ``offsets[n + 1]``, in the order of declaration.

``decode`` believes the block's maker was hb and checks only sums; ``check`` believes nothing.
"""

from __future__ import annotations

import json
import operator
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from struct import Struct
from typing import Any

from xxhash import xxh3_64_intdigest

MAGIC = b"hbtargets 1\n\0\0\0\0"
SOURCE = "source file"  # the kind of a file; rules' kinds end in " rule"
TOOL, CONDITIONAL = 1, 2  # flags of an edge: built for the machine that runs actions; in a select or a transition

MAX_DEPTH = 50  # of lists, dicts and selects in one another

_SECTIONS = (
    ("head", ""), ("info", ""), ("packages", ""), ("labels", ""), ("texts", ""),
    ("starts", "i"), ("kinds", "H"), ("lines", "i"), ("offsets", "i"), ("deps", "i"), ("attributes", "H"),
    ("flags", "B"), ("spans", "I"),
)  # fmt: skip
_INDEX = Struct(f"<{2 * len(_SECTIONS)}Q")
_BODY = len(MAGIC) + _INDEX.size


class Damaged(ValueError):
    """Bytes that are no target graph, or not one of this version."""


@dataclass(frozen=True)
class Block:
    """A target graph in its packed form; sections are unpacked when they are asked for."""

    data: memoryview
    places: Mapping[str, tuple[int, int, int]]  # section → offset, length, sum

    def raw(self, name: str) -> memoryview:
        start, length, total = self.places[name]
        found = self.data[start : start + length]
        if xxh3_64_intdigest(found) != total:
            raise Damaged(f"the section {name} of the target graph is damaged")
        return found

    def numbers(self, name: str) -> array[int]:
        found: array[int] = array(dict(_SECTIONS)[name])
        found.frombytes(self.raw(name))
        if sys.byteorder == "big":
            found.byteswap()
        return found

    def strings(self, name: str) -> list[str]:
        text = str(self.raw(name), "utf-8")
        return text[:-1].split("\0") if text else []

    @cached_property
    def head(self) -> Mapping[str, Any]:
        """``rules``: kind → whether it is a test, and attribute → [names targets, these are tools, default];
        ``names``: of attributes; ``errors``, ``scope``, ``settings``."""
        found: Mapping[str, Any] = json.loads(bytes(self.raw("head")))
        return found

    @cached_property
    def info(self) -> Mapping[str, Mapping[str, list[str]]]:
        """Package → its default visibility, and the labels of the files it imports."""
        found: Mapping[str, Mapping[str, list[str]]] = json.loads(bytes(self.raw("info")))
        return found

    @cached_property
    def packages(self) -> list[str]:
        return self.strings("packages")

    @cached_property
    def starts(self) -> array[int]:
        """Package number → its first node; one more at the end."""
        return self.numbers("starts")

    @cached_property
    def labels(self) -> list[str]:
        return self.strings("labels")

    @cached_property
    def kinds(self) -> array[int]:
        """Node → number of its kind, in the order of ``head["rules"]``."""
        return self.numbers("kinds")

    @cached_property
    def lines(self) -> array[int]:
        """Node → the line of its package's BUILD.py that declares it; 0 for files."""
        return self.numbers("lines")

    @cached_property
    def offsets(self) -> array[int]:
        return self.numbers("offsets")

    @cached_property
    def deps(self) -> array[int]:
        """Edge → the node it leads to."""
        return self.numbers("deps")

    @cached_property
    def attributes(self) -> array[int]:
        """Edge → number of its attribute in ``head["names"]``."""
        return self.numbers("attributes")

    @cached_property
    def flags(self) -> array[int]:
        return self.numbers("flags")

    @cached_property
    def _texts(self) -> tuple[array[int], memoryview]:
        return self.numbers("spans"), self.raw("texts")

    def written(self, node: int) -> dict[str, Any]:
        """The attributes of a target as they stand in its BUILD.py: name → value, see
        ``hermetic.analysis.packing.packed``."""
        spans, texts = self._texts
        text = bytes(texts[spans[node] : spans[node + 1]])
        found: dict[str, Any] = json.loads(text) if text else {}
        return found


def encode(head: Mapping[str, Any], info: Mapping[str, Any], sections: Mapping[str, Any]) -> bytes:
    """Pack a graph. ``sections``: name → list of strings, bytes or array."""
    parts: list[bytes] = []
    index: list[int] = []
    for name, code in _SECTIONS:
        part = _bytes({"head": head, "info": info, **sections}[name], code)
        parts.append(part)
        index += (len(part), xxh3_64_intdigest(part))
    return b"".join((MAGIC, _INDEX.pack(*index), *parts))


def decode(data: bytes | memoryview) -> Block:
    """The block in ``data``. Raises Damaged when its frame is not whole."""
    view = memoryview(data)
    if len(view) < _BODY or bytes(view[: len(MAGIC)]) != MAGIC:
        raise Damaged("not a target graph of this version")
    index = _INDEX.unpack(view[len(MAGIC) : _BODY])
    places, at = {}, _BODY
    for (name, _), length, total in zip(_SECTIONS, index[::2], index[1::2], strict=True):
        places[name] = (at, length, total)
        at += length
    if at != len(view):
        raise Damaged(f"a target graph of {len(view)} bytes where {at} belong")
    return Block(view, places)


def check(block: Block) -> None:
    """Raise Damaged unless every number in the block leads somewhere. For blocks that others made."""
    try:
        _check(block)
    except Damaged:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, StopIteration) as error:
        raise Damaged(f"not a target graph: {error!r}"[:300]) from None


def _check(block: Block) -> None:
    nodes, edges = len(block.labels), len(block.deps)
    head = block.head
    rules, names = head["rules"], head["names"]
    _check_head(head, nodes)
    _need(not block.packages or _rising(block.packages, strict=True), "the packages are not in order")
    _check_ranges(block.starts, len(block.packages), nodes, "packages")
    _check_ranges(block.offsets, nodes, edges, "edges")
    _check_ranges(block.numbers("spans"), nodes, len(block.raw("texts")), "texts")
    for found, limit, count in (
        (block.kinds, len(rules), nodes),
        (block.lines, 1 << 31, nodes),
        (block.deps, nodes, edges),
        (block.attributes, len(names), edges),
        (block.flags, 4, edges),
    ):
        _need(len(found) == count, "its arrays do not fit together")
        _need(not found or (min(found) >= 0 and max(found) < limit), "a number leads nowhere")
    for package, (start, end) in zip(block.packages, pairwise(block.starts), strict=True):
        prefix = f"//{package}:"
        inside = block.labels[start:end]
        _need(all(label.startswith(prefix) for label in inside), f"a label is not of its package //{package}")
        _need(_rising(inside, strict=True), f"the labels of //{package} are not in order")
    _check_info(block)
    for node in range(nodes):
        for value in block.written(node).values():
            _check_value(value, MAX_DEPTH)


def _check_head(head: Mapping[str, Any], nodes: int) -> None:
    _need(all(isinstance(name, str) for name in (*head["rules"], *head["names"])), "a name is not text")
    _need(next(iter(head["rules"])) == SOURCE, "the first kind is not that of files")
    for rule in head["rules"].values():
        _need(type(rule["test"]) is bool, "a rule is not described")
        for is_label, is_tool, default in rule["attributes"].values():
            _need(type(is_label) is bool and type(is_tool) is bool, "an attribute is not described")
            _check_value(default, MAX_DEPTH)
    errors = [error for _, error in head["errors"]["targets"]]
    _need(all(type(node) is int and 0 <= node < nodes for node, _ in head["errors"]["targets"]), "no such target")
    for error in (*errors, *head["errors"]["packages"].values(), *head["errors"]["folders"].values()):
        _check_error(error)
    for text in (*head["scope"]["loaded"], *head["scope"]["folders"]):
        _need(isinstance(text, str), "a package is not text")
    for one in head["settings"]:
        name, default, values = one
        _need(isinstance(name, str) and isinstance(default, str | bool | int), "a setting is not one")
        _need(all(isinstance(value, str) for value in values), "a setting is not one")


def _check_info(block: Block) -> None:
    packages = set(block.packages)
    loads: set[str] = set()
    for package, about in block.info.items():
        _need(package in packages, f"there is no package {package!r}")
        _need(all(isinstance(text, str) for text in about["visibility"]), "a visibility is not text")
        loads.update(about["loads"])
    _need(not loads or loads.issubset(block.labels), "a file that is imported is no node")


def _check_error(error: Any) -> None:
    texts = [error["kind"], error["message"], error["path"], error["label"], error["hint"]]
    _need(all(text is None or isinstance(text, str) for text in texts), "an error is no error")
    _need(type(error["line"]) is int, "an error is no error")


def _check_value(value: Any, depth: int) -> None:
    """An attribute's value in its packed form, see ``hermetic.analysis.packing.packed``."""
    _need(depth > 0, "a value is nested too deeply")
    if isinstance(value, list):
        for one in value:
            _check_value(one, depth - 1)
    elif isinstance(value, dict):
        kind = next(iter(value))
        _need(set(value) in ({"dict"}, {"add"}, {"select", "line"}), "a value is of no kind")
        _need(type(value.get("line", 0)) is int and isinstance(value[kind], list), "a value is of no kind")
        for one in value[kind]:
            _need(kind == "add" or (len(one) == 2 and isinstance(one[0], str)), "a key is not text")
            _check_value(one if kind == "add" else one[1], depth - 1)
    else:
        _need(value is None or isinstance(value, str | bool | int), "a value is of no kind")


def _check_ranges(bounds: Sequence[int], count: int, total: int, what: str) -> None:
    """``count`` ranges that follow one another from 0 to ``total``."""
    whole = len(bounds) == count + 1 and bounds[0] == 0 and bounds[-1] == total
    _need(whole and _rising(bounds), f"the {what} do not follow one another")


def _rising(values: Sequence[Any], strict: bool = False) -> bool:
    return all(map(operator.lt if strict else operator.le, values, values[1:]))


def _need(true: bool, message: str) -> None:
    if not true:
        raise Damaged(f"the target graph is damaged: {message}")


def _bytes(value: Any, code: str) -> bytes:
    if isinstance(value, Mapping):
        return json.dumps(value, separators=(",", ":")).encode()  # in ASCII: a folder's name need not be UTF-8
    if isinstance(value, list):
        return "".join(f"{one}\0" for one in value).encode()
    if code and sys.byteorder == "big":
        value.byteswap()
    return value if isinstance(value, bytes) else bytes(memoryview(value).cast("B"))
