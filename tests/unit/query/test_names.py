"""Odd names of files: shown on one line, asked for in quotes, harmless in every format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from hermetic.errors import BuildFileError
from hermetic.query.answer import Question, lines
from hermetic.query.output import FORMATS

if TYPE_CHECKING:
    from conftest import Asked

NAMES = [
    "a b.c",
    "ü.c",
    "new\nline.c",
    'quo"te.c',
    "it's.c",
    "semi;colon.c",
    "plus+.c",
    "\x1b[31mred.c",
    "$v.c",
    "back\\slash.c",
    "#n.c",
]


@pytest.fixture(scope="module")
def asked(new_asked: Callable[[Mapping[str, str]], Asked]) -> Asked:
    build = 'from rules.demo import compile\ncompile(name="x", srcs=glob(["**"], exclude=["BUILD.py"]), flags=["\\x1b[0m", "ü"])\n'
    return new_asked({"p/BUILD.py": build, **{f"p/{name}": "" for name in NAMES}})


def test_every_name_is_one_line(asked: Asked) -> None:
    found = asked.labels("deps(//p:x) - //p:x")
    assert len(found) == len(NAMES)
    assert "//p:new\\nline.c" in found and "//p:\\x1b[31mred.c" in found and "//p:ü.c" in found
    assert all(label.isprintable() for label in found)


@pytest.mark.parametrize("name", [name for name in NAMES if name.isprintable() and name not in ("ü.c",)])
def test_names_in_quotes(asked: Asked, name: str) -> None:
    quote = "'" if '"' in name else '"'
    question = Question.of(f"kind(source, siblings(//p:x)) ^ set({quote}//p:{name}{quote})")
    if name == "back\\slash.c":  # what labels may not hold, no query can name; filter() can
        question = Question.of("filter('back.slash', siblings(//p:x))")
    assert list(lines(asked.ask(question), "label", "auto", question)) == [f"//p:{name}"]


@pytest.mark.parametrize("output", sorted(FORMATS.keys() - {"svg", "text"}))
def test_no_format_prints_control_characters(asked: Asked, output: str) -> None:
    question = Question.of("deps(//p:x)")
    text = "\n".join(lines(asked.ask(question), output, "auto", question))
    assert all(char.isprintable() or char == "\n" for char in text)
    if output == "json":
        assert {row["label"] for row in json.loads(text)} == set(asked.labels("deps(//p:x)"))
    if output == "graph":
        assert '"//p:quo\\"te.c"' in text and '"//p:back\\\\slash.c"' in text
    if output == "mermaid":
        assert '["//p:quo#quot;te.c"]' in text and '["//p:#35;n.c"]' in text


def test_a_name_that_is_not_utf8_is_an_error_that_names_it(new_asked: Callable[[Mapping[str, str]], Asked]) -> None:
    asked = new_asked({"p/BUILD.py": 'from rules.demo import compile\ncompile(name="x", srcs=glob(["*.c"]))\n'})
    with open(os.fsencode(asked.root / "p") + b"/\xff.c", "w"):
        pass
    with pytest.raises(BuildFileError, match="is not UTF-8"):
        asked.labels("//p:x")
