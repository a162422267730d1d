"""The query language as tables: a tree of BUILD files, an expression, the answer or the error and its column.

A case may say ``package`` (the query is asked there), ``universe``, ``keep_going`` with ``errors``, ``tools``
and ``implicit`` (false: leave such edges out), ``mode`` (configured, actions) with ``settings``, ``notes`` that
must appear (an empty list: none may), and ``output`` with ``order`` and the exact ``lines``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hermetic.errors import HbError
from hermetic.query.answer import Answer, Question, lines
from hermetic.query.functions import FUNCTIONS

if TYPE_CHECKING:
    from conftest import Asked

TABLES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[2] / "cases" / "query").glob("*.json"))
}
CASES = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, table in TABLES.items()
    for number, case in enumerate(table["cases"])
]


@pytest.fixture(scope="module")
def workspaces(new_asked: Callable[[Mapping[str, str]], Asked]) -> dict[str, Asked]:
    return {name: new_asked(table["tree"]) for name, table in TABLES.items()}


def answer(asked: Asked, case: dict[str, Any]) -> tuple[Question, Answer]:
    question = Question.of(
        case["query"], case.get("package", ""), case.get("universe", ()), case.get("keep_going", False)
    )
    tools, mode = case.get("tools", True), case.get("mode")
    if mode is None:
        return question, asked.ask(question, tools=tools)
    return question, asked.configured(
        question,
        tools=tools,
        implicit=case.get("implicit", True),
        actions=mode == "actions",
        settings=case.get("settings"),
    )


@pytest.mark.parametrize(("name", "case"), CASES)
def test_case(workspaces: dict[str, Asked], name: str, case: dict[str, Any]) -> None:
    asked = workspaces[name]
    if "error" in case:
        with pytest.raises(HbError) as caught:
            answer(asked, case)
        assert case["error"] in str(caught.value)
        assert caught.value.exit_code == 7
        if "column" in case:
            assert f"column {case['column']} of the query" in str(caught.value)
            assert getattr(caught.value, "column", 0) == case["column"]
        return
    question, found = answer(asked, case)
    if "lines" in case:
        assert list(lines(found, case["output"], case.get("order", "auto"), question)) == case["lines"]
    elif case.get("mode") == "actions":
        nodes = found.found.nodes
        assert sorted(
            f"{found.catalogue.name(n).partition('#')[0]} {found.catalogue.kind(n)}" for n in nodes
        ) == sorted(case["found"])
    else:
        assert sorted(map(found.catalogue.name, found.found.nodes)) == sorted(case["found"])
    for text in case.get("notes", ()):
        assert any(text in note for note in found.notes)
    assert found.notes or not case.get("notes")
    assert case.get("notes") != [] or not found.notes
    for text in case.get("errors", ()):
        assert any(text in str(error) for error in found.errors)
    assert bool(found.errors) == bool(case.get("errors"))


def test_the_tables_are_whole() -> None:
    queries = [case["query"] for table in TABLES.values() for case in table["cases"]]
    assert len(queries) >= 150
    for function in FUNCTIONS:
        used = [one for one in queries if f"{function}(" in one]
        assert len(used) >= 3, f"{function} has {len(used)} cases"
