"""The packed target graph: what is written is what is read, and nothing damaged or malicious gets through."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.analysis.targetfile import MAGIC, Damaged, check, decode, encode
from hermetic.query.answer import Question, lines
from hermetic.query.targets import Targets

if TYPE_CHECKING:
    from conftest import Asked

TREE = {
    "BUILD.py": "",
    "defs.py": "X = ['-g']\n",
    "a/BUILD.py": "from defs import X\nfrom rules.demo import compile\n"
    'compile(name="a", srcs=["a.c"], deps=select({"default": ["//b", "//nowhere"]}), tool="//b", flags=X + select({"default": []}))\n'
    'compile(name="z", env={"K": "v"})\n',
    "a/a.c": "",
    "b/BUILD.py": 'from rules.demo import compile\ncompile(name="b", named={"x": "//b:c"})\ncompile(name="c")\n',
}
NAMES = ("packages", "labels", "starts", "kinds", "lines", "offsets", "deps", "attributes", "flags", "spans", "texts")


@pytest.fixture(scope="module")
def asked(new_asked: Callable[[Mapping[str, str]], Asked]) -> Asked:
    return new_asked(TREE)


@pytest.fixture(scope="module")
def whole(asked: Asked) -> bytes:
    return bytes(asked.frontend.targets([""], []).block.data)


def parts(data: bytes) -> dict[str, Any]:
    """A block taken apart so that it can be put together wrongly."""
    block = decode(data)
    found: dict[str, Any] = {"head": json.loads(json.dumps(block.head)), "info": dict(block.info)}
    for name in NAMES:
        found[name] = getattr(block, name, None)
    return found | {"spans": block.numbers("spans"), "texts": bytes(block.raw("texts"))}


def remade(found: dict[str, Any]) -> bytes:
    return encode(found["head"], found["info"], {name: found[name] for name in NAMES})


def test_a_block_taken_apart_and_put_together_is_the_same(whole: bytes) -> None:
    assert remade(parts(whole)) == whole
    check(decode(whole))


def test_what_is_in_it(whole: bytes) -> None:
    block = decode(whole)
    assert block.packages == ["", "a", "b"]
    assert block.labels == ["//:BUILD.py", "//:defs.py", "//a:BUILD.py", "//a:a", "//a:a.c", "//a:z",
                            "//b:BUILD.py", "//b:b", "//b:c"]  # fmt: skip
    assert block.written(5) == {"env": {"dict": [["K", "v"]]}}
    assert block.written(0) == {}
    assert [error["message"] for _, error in block.head["errors"]["targets"]] != []
    assert block.info["a"]["loads"] == ["//:defs.py"]


def test_an_empty_graph() -> None:
    from hermetic.analysis.targets import collect
    from hermetic.loading.loader import Loader

    block = decode(collect(Loader(Path("/nonexistent")), [], ["x"]))
    check(block)
    assert block.labels == [] and block.packages == []
    assert list(block.head["errors"]["packages"]) == ["x"]


def test_every_truncation_is_noticed(whole: bytes) -> None:
    for length in range(0, len(whole), 7):
        with pytest.raises(Damaged):
            decode(whole[:length])
    with pytest.raises(Damaged):
        decode(whole + b"x")


def test_another_version_is_noticed(whole: bytes) -> None:
    with pytest.raises(Damaged):
        decode(MAGIC.replace(b"1", b"2") + whole[len(MAGIC) :])


@given(st.data())
def test_every_flipped_byte_is_noticed(whole: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    broken[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        check(decode(bytes(broken)))


def _set(name: str, at: int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        found[name][at] = value

    return change


def _head(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        inner = found["head"]
        for one in path[:-1]:
            inner = inner[one]
        inner[path[-1]] = value

    return change


def _more(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        found[name].append(value)

    return change


def _texts(old: bytes, new: bytes) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        assert len(old) == len(new) and old in found["texts"]
        found["texts"] = found["texts"].replace(old, new)

    return change


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "an edge to nowhere": _set("deps", 0, 9),
    "an edge to before the first": _set("deps", 0, -1),
    "edges that run backwards": _set("offsets", 4, 7),
    "edges beyond the last": _set("offsets", -1, 99),
    "edges that begin late": _set("offsets", 0, 1),
    "one edge range too many": _more("offsets", 4),
    "an unknown attribute": _set("attributes", 0, 99),
    "an unknown flag": _set("flags", 0, 8),
    "an unknown kind": _set("kinds", 0, 99),
    "a line before the first": _set("lines", 0, -1),
    "one line too many": _more("lines", 1),
    "a package that overlaps another": _set("starts", 1, 0),
    "packages out of order": _set("packages", 0, "zzz"),
    "a label of another package": _set("labels", 3, "//b:a"),
    "labels out of order": _set("labels", 3, "//a:zz"),
    "a label twice": _set("labels", 4, "//a:a"),
    "one label too many": _more("labels", "//b:x"),
    "texts out of order": _set("spans", 1, 5),
    "texts that are no JSON": _texts(b'{"env"', b'{"env\\'),
    "a value of no kind": _texts(b'{"dict":', b'{"dirt":'),
    "a number with a point": _texts(b'[["K","v"]]', b'[["K",1.5]]'),
    "a dict that is a list of texts": _texts(b'[["K","v"]]', b'["K","v "] '),
    "a key that is no text": _texts(b'[["K","v"]]', b'[[100,"v"]]'),
    "an error of no target": _head("errors", "targets", 0, 0, value=99),
    "an error without a message": _head("errors", "targets", 0, 1, value={}),
    "a message that is a list": _head("errors", "targets", 0, 1, "message", value=[]),
    "a line that is text": _head("errors", "targets", 0, 1, "line", value="1"),
    "no errors at all": _head("errors", value=None),
    "a rule that is a number": _head("rules", "compile rule", value=1),
    "a test that is maybe one": _head("rules", "compile rule", "test", value=1),
    "an attribute without a default": _head("rules", "compile rule", "attributes", "srcs", value=[True]),
    "a name that is none": _head("names", 0, value=5),
    "a scope that is no list": _head("scope", value=3),
    "a package in the scope that is no text": _head("scope", "loaded", value=[1]),
    "a setting that is none": _head("settings", value=[["a", 1.5, []]]),
    "a setting without values": _head("settings", value=[["a", "b"]]),
    "information about no package": lambda found: found["info"].update(x={"visibility": [], "loads": []}),
    "an import of no file": lambda found: found["info"].update(a={"visibility": [], "loads": ["//a:no.py"]}),
    "a visibility of numbers": lambda found: found["info"].update(a={"visibility": [1], "loads": []}),
    "no information": lambda found: found.update(info={"a": {}}),
    "a head that is a list": lambda found: found.update(head={"a": []}),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_of_the_child_is_refused(whole: bytes, lie: str) -> None:
    """Sums are right, so that only the contents can give them away."""
    found = parts(whole)
    LIES[lie](found)
    with pytest.raises(Damaged):
        check(decode(remade(found)))


def test_deep_values_are_refused_and_never_written(new_asked: Callable[[Mapping[str, str]], Asked]) -> None:
    deep = "[" * 80 + "]" * 80
    asked = new_asked({"BUILD.py": f'from rules.demo import compile\ncompile(name="a", flags={deep})\n'})
    block = asked.frontend.targets([""], []).block
    found = parts(bytes(block.data))
    assert b"\\u2026" in found["texts"]
    text = json.dumps({"flags": json.loads(deep)}).encode()
    found["texts"], found["spans"][-1], found["spans"][-2] = text, len(text), 0
    found["spans"] = type(found["spans"])("I", [0, 0, len(text)])
    with pytest.raises(Damaged, match="deeply"):
        check(decode(remade(found)))


def test_whatever_passes_the_check_can_be_asked(whole: bytes) -> None:
    """Random changes of single numbers: refused, or harmless."""
    chance = random.Random(7)
    accepted = 0
    for _ in range(300):
        found = parts(whole)
        name = chance.choice(["starts", "kinds", "lines", "offsets", "deps", "attributes", "flags", "spans"])
        found[name][chance.randrange(len(found[name]))] = chance.randrange(12)
        block = decode(remade(found))
        try:
            check(block)
        except Damaged:
            continue
        accepted += 1
        from hermetic.query.answer import ask
        from hermetic.query.environment import Environment

        question = Question.of("deps(//...) + rdeps(//..., //b) + attr(flags, g, //...)", keep_going=True)
        answer = ask(question, Environment(Targets(block), keep_going=True))
        for output in ("location", "build", "json", "maxrank", "graph"):
            assert list(lines(answer, output, "full", question))
    assert accepted > 10
