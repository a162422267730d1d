"""The event stream: every line that hb can write is as docs/reference/events.schema.json says, and no more."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from hermetic.action import Action, Mode
from hermetic.errors import ActionError, Location
from hermetic.execution.outcome import BuildResult, Finished, Foresight, Outcome, Silent
from hermetic.proto import hb_pb2
from hermetic.report.events import EventReporter

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/reference/events.schema.json").read_text())
USAGE = hb_pb2.Usage(peak=1 << 20, cpu=1.25, wall=2.0, jobs=4)


def strict() -> Draft202012Validator:
    """The schema, and no field that it does not name."""
    schema = copy.deepcopy(SCHEMA)
    common = set(schema["properties"])
    for name in (one["$ref"].rpartition("/")[2] for one in schema["oneOf"]):
        kind = schema["$defs"][name]
        kind["properties"] |= dict.fromkeys(common - set(kind["properties"]), True)
        kind["additionalProperties"] = False
    return Draft202012Validator(schema)


def action(settings: tuple[tuple[str, str], ...] = ()) -> Action:
    return Action("a", "//:a", "Make", Location("BUILD.py", 3), Mode.COMMAND, ("true",), (), settings=settings)


class Reported:
    """What is told to the file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "events"
        self.reporter = EventReporter(Silent(), self.path)

    def lines(self) -> list[dict[str, Any]]:
        self.reporter.end(BuildResult("1", {}, 0.0))
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_its_line(tmp_path: Path, outcome: Outcome) -> None:
    bad = outcome in (Outcome.FAILED, Outcome.TIMEOUT, Outcome.OOM)
    told = Reported(tmp_path)
    error = ActionError("Make failed", location=Location("BUILD.py", 3)) if bad else None
    done = Finished(action((("arch", "arm64"),)), outcome, key="0" * 64, wall=1.5, error=error, usage=USAGE)
    told.reporter.foreseen(Foresight({"a": 2.0}, {"a": 3.0}))
    told.reporter.planned(1)
    told.reporter.started(done.action)
    told.reporter.finished(done)
    told.reporter.note("something")
    lines = told.lines()
    assert [one["event"] for one in lines] == ["planned", "started", "finished", "note", "ended"]
    for one in lines:
        strict().validate(one)
    assert lines[2]["outcome"] == outcome.value and lines[2]["settings"] == {"arch": "arm64"}


def test_an_action_without_a_key_or_usage_has_its_line(tmp_path: Path) -> None:
    told = Reported(tmp_path)
    told.reporter.finished(Finished(action(), Outcome.SKIPPED))
    told.reporter.end(BuildResult("1", {"a": Finished(action(), Outcome.SKIPPED)}, 1.0, interrupted=True, unchanged=3))
    for one in told.lines():
        strict().validate(one)


@pytest.mark.parametrize(
    "line",
    [
        {"event": "other", "version": 1, "time": 1},
        {"event": "planned", "version": 2, "time": 1, "actions": 1, "predicted_s": 1},
        {"event": "planned", "version": 1, "time": 1, "actions": -1, "predicted_s": 1},
        {"event": "planned", "version": 1, "time": 1, "actions": 1, "predicted_s": 1, "more": 1},
        {"event": "ended", "version": 1, "time": 1, "build_id": "1", "wall_s": 1, "outcomes": {"won": 1}, "interrupted": False},
        {"event": "finished", "version": 1, "time": 1, "label": "a", "mnemonic": "b", "settings": {}, "outcome": "oom",
         "key": "", "wall_s": 1},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_is_wrong(line: dict[str, Any]) -> None:
    assert not strict().is_valid(line)


def test_every_event_of_the_reporter_is_in_the_schema() -> None:
    import inspect
    import re

    written = set(re.findall(r'_write\(\s*"(\w+)"', inspect.getsource(EventReporter)))
    assert written == set(SCHEMA["properties"]["event"]["enum"])
