"""Annotations: each is one command and says what it was given, whatever that is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.action import Action, Mode
from hermetic.cli.annotations import annotate, of_action, of_error
from hermetic.errors import ActionError, BuildFileError, Location
from hermetic.execution.outcome import Finished, Outcome
from hermetic.report.annotations import LONGEST, MOST, Annotation, lines

CASES = json.loads((Path(__file__).parents[2] / "cases" / "annotations.json").read_text(encoding="utf-8"))


def read(line: str) -> tuple[str, dict[str, str], str]:
    """As the runner does: command, properties, message."""
    found = re.fullmatch(r"::(\w+)(?: (.*?))?::(.*)", line, re.DOTALL)
    assert found is not None
    properties = dict(one.split("=", 1) for one in (found[2] or "").split(",") if one)
    return found[1], {name: back(value, "3A", "2C") for name, value in properties.items()}, back(found[3])


def back(text: str, *more: str) -> str:
    for code in ("0D", "0A", *more, "25"):
        text = text.replace(f"%{code}", chr(int(code, 16)))
    return text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_line_of(case: dict[str, Any]) -> None:
    assert lines([Annotation(**case["annotation"])]) == [case["line"]]


pieces = st.sampled_from(["a", ":", ",", "%", "\n", "\r", "=", "0A", "25", " ", "::", "é"])
texts = st.lists(pieces, max_size=12).map("".join)


@given(texts, texts, texts, st.integers(0, 9))
def test_the_runner_reads_what_was_meant(title: str, message: str, path: str, line: int) -> None:
    (text,) = lines([Annotation(title, message, path, line)])
    assert "\n" not in text and "\r" not in text
    where = {"file": path, "line": str(line) if path and line else "", "title": title}
    assert read(text) == ("error", {name: value for name, value in where.items() if value}, message)


def test_no_more_than_are_shown() -> None:
    assert len(lines([Annotation("t", "m")] * 300)) == MOST
    assert len(lines([Annotation("", "m" * 100_000)])[0]) == LONGEST + len("::error::")


def failure(path: str, tail: str = "") -> Finished:
    action = Action("x", "//a:x", "Make", Location(path, 3), Mode.COMMAND, ("true",), ())
    error = ActionError("exit 1", location=action.location, label="//a:x", hint="look")
    return Finished(action, Outcome.FAILED, error=error, tail=tail)


# repository, workspace, path of the location → file of the annotation
PLACES = [
    ("/r", "/r", "a/BUILD.py", "a/BUILD.py"),
    ("/r", "/r/inner", "a/BUILD.py", "inner/a/BUILD.py"),
    ("/r", "/r", "/r/pyproject.toml", "pyproject.toml"),
    ("/elsewhere", "/r", "a/BUILD.py", ""),
    ("/r", "/r", "../secret", ""),
    ("", "/r", "a/BUILD.py", "a/BUILD.py"),
]


@pytest.mark.parametrize(("repository", "root", "path", "file"), PLACES)
def test_files_are_those_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, repository: str, root: str, path: str, file: str
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", repository)
    found = of_action(failure(path), Path(root))
    assert (found.path, found.title) == (file, "//a:x Make")
    assert found.message.startswith("exit 1\n→ look" if file else f"{path}:3: exit 1")


def test_the_end_of_the_log_is_told() -> None:
    message = of_action(failure("BUILD.py", "\n".join(map(str, range(100)))), Path("/r")).message
    assert message.endswith("\n98\n99") and "\n89\n" not in message


def test_only_on_github(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    error = BuildFileError("no such name", location=Location("BUILD.py", 2))
    for value in ("", "false"):
        monkeypatch.setenv("GITHUB_ACTIONS", value)
        annotate((), [error], Path("/r"))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    annotate([failure("BUILD.py")], [error], Path("/r"))
    assert capsys.readouterr().err.splitlines() == [
        "::error file=BUILD.py,line=3,title=//a%3Ax Make::exit 1%0A→ look",
        "::error file=BUILD.py,line=2,title=hb::no such name",
    ]
    assert of_error(BuildFileError("m"), Path("/r")) == Annotation("hb", "m")
