"""What a person sees: the reporter on a real pseudo-terminal, looked at through a terminal emulator."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from terminals import Person, on_a_terminal

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("display_script.py")


@contextmanager
def display(
    count: int, columns: int, rows: int = 24, name: str = "pkg", encoding: str = "utf-8", **env: str
) -> Iterator[Person]:
    full = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONIOENCODING": encoding, **env,
    }  # fmt: skip
    argv = [sys.executable, str(SCRIPT), str(count), name]
    with on_a_terminal(argv, columns, rows, full, ROOT, encoding) as person:
        yield person


def go_on(person: Person) -> list[str]:
    for _ in range(3):
        person.types()
    return person.ended()


def calm(lines: list[str]) -> None:
    """What stays: every line that was said, in order, and nothing of the live ones."""
    text = "".join(lines)  # a terminal that is narrow breaks lines
    assert re.match(r"built +1\.5 s *//.*:t0 *Make", text)
    place = 0
    for said in ("a note", "100%", "red", "last", "BUILD.py:3: Make failed with exit 1", "look", "built 1, failed 1"):
        found = re.compile(re.escape(said).replace("\\ ", " *")).search(text, place)
        assert found, f"{said} is not there in its place"
        place = found.end()
    assert "running" not in text and "to go" not in text


def test_a_terminal_shows_what_runs_how_far_it_is_and_how_long_it_takes() -> None:
    with display(3, 100) as person:
        lines = person.until(lambda lines: len(lines) == 4 and lines[-1].endswith("GiB"))
        assert re.fullmatch(r"\[0/4\] 3 running, 0 cached, 1 waiting, about \d+ (s|min) to go", lines[0])
        assert all(re.fullmatch(r"  +\d+\.\d s of 100  //pkg:t\d Make  runs  3\.0 GiB", line) for line in lines[1:])
        person.types()
        lines = person.until(lambda lines: len(lines) > 2 and lines[2].startswith("[1/4] 2 running"))
        assert re.fullmatch(r"built +1\.5 s  //pkg:t0 Make", lines[0])
        assert lines[1] == "a note"
        person.types()
        person.types()
        calm(person.ended())


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_two_hundred_actions_with_wide_names_leave_nothing_behind(columns: int) -> None:
    name = "container/frameworks/" + "x" * 60
    with display(200, columns, 30, name) as person:
        lines = person.until(lambda lines: lines and lines[-1].endswith("187 more"))
        assert len(lines) == 15, "half of the screen"
        assert all(len(line) < columns for line in lines)
        assert re.fullmatch(r" *… and 187 more", lines[-1])
        if columns >= 40:
            assert all(re.search(r":t\d+ Make", line) for line in lines[1:-1]), "the end of a label tells most"
        calm(go_on(person))


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_low_terminal_loses_no_line(rows: int) -> None:
    with display(10, 80, rows) as person:
        if rows > 1:
            person.until(lambda lines: any("10 running" in line for line in lines))
        calm([line for line in go_on(person) if line])


@pytest.mark.parametrize("columns", [40, 160])
def test_a_resized_terminal_loses_no_line(columns: int) -> None:
    with display(5, 80) as person:
        person.until(lambda lines: len(lines) == 6)
        person.types()
        person.until(lambda lines: any("[1/6]" in line for line in lines))
        person.resizes(columns, 24)
        person.types()
        person.until(lambda lines: any("last" in line for line in lines))
        person.types()
        lines = person.ended()
        assert "a note" in lines and any("failed: built 1, failed 1" in line for line in lines)
        assert all(len(line) <= columns for line in lines)


def test_a_log_cannot_take_over_the_terminal() -> None:
    with display(2, 80) as person:
        calm(go_on(person))
        for sequence in (b"\x1b]", b"\x1b[2J", b"\x1b[10A", b"\x07"):
            assert sequence not in person.raw


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"CI": "true"}], ids=["dumb", "ci"])
def test_where_lines_cannot_be_taken_back_there_are_only_lines_that_stay(env: dict[str, str]) -> None:
    with display(200, 80, **env) as person:
        calm(go_on(person))
        assert not re.search(rb"\x1b\[\d*[AJK]", person.raw)


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_no_color_is_respected(no_color: str, colored: bool) -> None:
    with display(2, 80, NO_COLOR=no_color) as person:
        calm(go_on(person))
        assert (b"\x1b[32m" in person.raw) is colored


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_old_locale_gets_ascii(encoding: str) -> None:
    with display(50, 60, 20, "y" * 80, encoding) as person:
        lines = person.until(lambda lines: lines and lines[-1].endswith("42 more"))
        assert lines[-1] == "  ... and 42 more"
        assert all(len(line) < 60 for line in lines)
        calm(go_on(person))
        assert b"\\u" not in person.raw and (encoding == "latin-1" or person.raw.isascii())
        assert b"  | red" in person.raw and b"-> look" in person.raw
