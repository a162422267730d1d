"""--summary: when a page is wanted, where it goes, and that it never gets in the way."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from hermetic.cli.asked import asked
from hermetic.cli.options import Parser, add_build
from hermetic.cli.summary import Place, add_summary
from hermetic.errors import CommandLineError

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "/tmp/page"}

# command line, environment, whether the quick way of a build with nothing to do is left for it
ASKED = [
    (["build", "//..."], {}, False),
    (["build", "//...", "--summary", "x.md"], {}, True),
    (["build", "//...", "--summary=x.md"], {}, True),
    (["build", "--summary-of-nothing", "//..."], {}, False),
    (["build", "//..."], GITHUB, True),
    (["build", "//..."], {"GITHUB_STEP_SUMMARY": "/tmp/page"}, False),
    (["build", "//..."], {"GITHUB_ACTIONS": "true"}, False),
    (["build", "//..."], {**GITHUB, "GITHUB_ACTIONS": "false"}, False),
]


@pytest.mark.parametrize(("command", "environment", "wanted"), ASKED)
def test_when_a_page_is_wanted(command: list[str], environment: dict[str, str], wanted: bool) -> None:
    assert asked(command, environment) is wanted


def parsed(*words: str) -> argparse.Namespace:
    parser = Parser("build", "about", "example")
    parser.add_argument("pattern", nargs="+")
    add_build(parser)
    add_summary(parser)
    return parser.parse(["//...", *words])


def test_the_quick_way_never_misses_what_the_parser_finds() -> None:
    for words in (["--summary", "a"], ["--summary=a"], ["--summary", "a", "--summary=b"], ["-k", "--summary", "-"]):
        assert parsed(*words).summary
        assert asked(words, {})
    with pytest.raises(CommandLineError):
        parsed("--summar", "a")


def test_where_the_page_goes(tmp_path: Path) -> None:
    assert Place.of(parsed(), {}) is None
    mine, theirs = str(tmp_path / "mine.md"), str(tmp_path / "theirs.md")
    github = {**GITHUB, "GITHUB_STEP_SUMMARY": theirs}
    assert Place.of(parsed(), github) == Place(Path(theirs), add=True)
    assert Place.of(parsed("--summary", mine), github) == Place(Path(mine), add=False)
    assert Place.of(parsed("--summary", theirs), github) == Place(Path(theirs), add=True)
    assert Place.of(parsed("--dry-run"), github) is None


@pytest.mark.parametrize(
    "words", [["--summary", "/"], ["--summary", "/no/such/folder/x.md"], ["-n", "--summary", "x.md"]]
)
def test_a_page_that_cannot_be_is_said_before_the_build(words: list[str]) -> None:
    with pytest.raises(CommandLineError) as caught:
        Place.of(parsed(*words), {})
    assert caught.value.hint


def test_pages_are_added_on_github_and_replaced_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    for text in ("one\n", "two \udcff\n"):
        Place(path, add=True).write(text)
    assert path.read_text() == "one\ntwo \\udcff\n"
    Place(path, add=False).write("three\n")
    assert path.read_text() == "three\n"


def test_a_page_that_cannot_be_written_is_only_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Place(tmp_path / "gone/page.md", add=True).write("x")
    assert "cannot be written" in capsys.readouterr().err
