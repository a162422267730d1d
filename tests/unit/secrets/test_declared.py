"""What an action may say of secrets, where BUILD files are read and again where their actions are believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hermetic.action import Action, Kind, Mode, Output
from hermetic.analysis.codec import action_from, action_object
from hermetic.analysis.context import RuleContext
from hermetic.errors import BuildFileError, InternalError, Location
from hermetic.label import Label
from hermetic.settings import Platform

CASES = json.loads((Path(__file__).parents[2] / "cases" / "secrets.json").read_text(encoding="utf-8"))["declared"]
PLATFORM = Platform("linux-amd64", "linux", "amd64", ())
ACTION = Action(
    "//p:x#1", "//p:x", "Run", Location("p/BUILD.py", 1), Mode.COMMAND, ("true",), (Output("out", "/out", Kind.TREE),),
    secrets=("A", "B"), secret_generation="1",
)  # fmt: skip


def context() -> RuleContext:
    def nothing(*_: object) -> object:
        raise AssertionError("not asked")

    return RuleContext(Label("p", "x"), Location("p/BUILD.py", 1), PLATFORM, nothing, nothing, nothing, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["error"])
def test_a_wrong_command(case: dict) -> None:
    with pytest.raises(BuildFileError) as caught:
        context().run(
            "Run", ["true"], inputs=[], outputs={"out": (case.get("output", "/out"), Kind.TREE)},
            secrets=case.get("secrets", ()), secret_generation=case.get("generation", ""),
        )  # fmt: skip
    assert case["error"] in str(caught.value)
    assert caught.value.hint


def test_a_command_and_a_fetch() -> None:
    ctx = context()
    ctx.run("Run", ["true"], inputs=[], outputs={"out": ("/out", Kind.TREE)}, secrets=["B", "A"], secret_generation="1")
    ctx.fetch("http", {"sha256": "0"}, outputs={"out": Kind.BLOB}, secrets=["TOKEN"])
    command, fetch = ctx.made.values()
    assert (command.secrets, command.secret_generation) == (("A", "B"), "1")
    assert (fetch.secrets, fetch.secret_generation) == (("TOKEN",), "")
    with pytest.raises(BuildFileError, match="not the name of a secret"):
        ctx.fetch("http", {"sha256": "0"}, outputs={"out": Kind.BLOB}, secrets=["a/b"])


@pytest.mark.parametrize(
    "action",
    [
        replace(ACTION, secret_generation=""),
        replace(ACTION, secrets=("../../etc/shadow",)),
        replace(ACTION, secrets=("A", "A")),
        replace(ACTION, mode=Mode.INTERNAL, secret_generation=""),
        replace(ACTION, mode=Mode.FETCH),
        replace(ACTION, secrets=()),
    ],
    ids=["no generation", "a path", "twice", "an operation", "a fetch with a generation", "a generation alone"],
)
def test_the_loader_is_not_believed(action: Action) -> None:
    """The child that runs BUILD files could answer anything."""
    with pytest.raises(InternalError):
        action_from(action_object(action))


def test_what_is_right_comes_back_as_it_was() -> None:
    assert action_from(action_object(ACTION)) == ACTION
    plain = replace(ACTION, secrets=(), secret_generation="")
    assert not {"secrets", "secret_generation"} & action_object(plain).keys(), "other actions' ids stay what they were"
