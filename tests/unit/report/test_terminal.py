"""Progress: calm where nobody watches, live where somebody does, and never in the way."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from hermetic.action import Action, Mode
from hermetic.errors import ActionError, Location
from hermetic.execution.outcome import BuildResult, Finished, Foresight, Outcome
from hermetic.report.terminal import SHOWN, TerminalReporter, failure_text


def action(name: str, mnemonic: str = "Make") -> Action:
    return Action(name, f"//:{name}", mnemonic, Location("BUILD.py", 3), Mode.COMMAND, ("true",), ())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def failed(name: str, tail: str = "") -> Finished:
    error = ActionError("Make failed with exit 1", location=Location("BUILD.py", 3), label=f"//:{name}", hint="look")
    return Finished(action(name), Outcome.FAILED, error=error, tail=tail)


def result(*done: Finished, interrupted: bool = False) -> BuildResult:
    return BuildResult("1", {one.action.id: one for one in done}, 34.21, interrupted)


def test_a_log_has_one_line_per_built_action_and_a_summary() -> None:
    stream = io.StringIO()
    reporter = TerminalReporter(stream)
    reporter.planned(3)
    built, hit = Finished(action("a"), Outcome.BUILT, wall=1.5), Finished(action("b"), Outcome.HIT_LOCAL)
    reporter.started(action("a"))
    for done in (built, hit):
        reporter.finished(done)
    reporter.end(result(built, hit))
    assert stream.getvalue().splitlines() == [
        "built        1.5 s  //:a Make",
        "done: built 1, hit-local 1 · 34.2 s",
    ]


def test_a_failure_shows_the_end_of_its_log_and_the_next_step() -> None:
    text = failure_text(failed("x", "\n".join(f"line {number}" for number in range(100))))
    assert "line 99" in text
    assert "line 59" not in text
    assert "BUILD.py:3: Make failed with exit 1" in text
    assert "→ look" in text


def test_failures_are_named_again_at_the_end() -> None:
    stream = io.StringIO()
    TerminalReporter(stream).end(result(failed("x"), failed("y")))
    assert re.findall(r"//:.", stream.getvalue()) == ["//:x", "//:y"]
    assert "failed: failed 2" in stream.getvalue()


def test_an_interrupted_build_says_so() -> None:
    stream = io.StringIO()
    TerminalReporter(stream).end(result(interrupted=True))
    assert stream.getvalue().startswith("interrupted: ")


@pytest.mark.parametrize("columns", ["10", "20", "40", "200"])
def test_a_live_block_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    stream = Terminal()
    reporter = TerminalReporter(stream)
    reporter.planned(50)
    for number in range(SHOWN + 5):
        reporter.started(action(f"a-rather-long-name-{number}"))
    reporter._last = 0.0
    reporter.started(action("last"))
    reporter.end(result())
    plain = re.sub(r"\x1b\[[0-9;]*[AJm]", "", stream.getvalue())
    assert all(len(line) < max(int(columns), 11) for line in plain.splitlines()[:-1])
    assert "more" in plain or columns == "10"


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, no_color: str, colored: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Terminal()
    TerminalReporter(stream).finished(Finished(action("a"), Outcome.BUILT))
    assert ("\x1b[32m" in stream.getvalue()) is colored


def test_a_reader_that_went_away_breaks_nothing(tmp_path: Path) -> None:

    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for one in (Gone(),):
        reporter = TerminalReporter(one)
        reporter.planned(1)
        reporter.started(action("a"))
        reporter.finished(failed("a"))
        reporter.end(result(failed("a")))


def test_a_terminal_says_what_is_predicted_and_how_much_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("hermetic.report.terminal.time.monotonic", lambda: now[0])
    stream = Terminal()
    reporter = TerminalReporter(stream)
    seconds = {"a": 100.0, "b": 300.0, "c": 1.0}
    rest = {"a": 100.0, "b": 301.0, "c": 1.0}
    reporter.foreseen(Foresight(seconds, rest, 2, lambda: {"a": ("runs", 3 << 30)}))
    reporter._total = 3
    reporter.started(action("a"))
    assert "to go" not in stream.getvalue()
    now[0] = 110.0
    reporter.started(action("b"))
    text = stream.getvalue()
    assert "10.0 s of 100  //:a Make  runs  3.0 GiB" in text
    assert "2 running, 0 cached, 1 waiting, about 5 min to go" in text
