"""The command line itself: verbs, options, start-up, defects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermetic.cli.main import VERBS, main
from hermetic.cli.options import Parser, add_build
from hermetic.errors import CommandLineError

ROOT = Path(__file__).parents[3]


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)


def test_every_verb_has_a_module_and_every_module_a_verb() -> None:
    modules = {path.stem for path in (ROOT / "hermetic/cli/verbs").glob("[a-z]*.py")}
    assert modules == set(VERBS)


@pytest.mark.parametrize(
    ("words", "code", "phrase"), [([], 2, ""), (["tset"], 2, "did you mean 'test'"), (["zzz"], 2, "see hb --help")]
)
def test_wrong_verbs(capsys: pytest.CaptureFixture[str], words: list[str], code: int, phrase: str) -> None:
    assert main(words) == code
    assert phrase in capsys.readouterr().err


def test_version_imports_next_to_nothing() -> None:
    script = "import sys; from hermetic.cli.main import main; main(['--version']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    version, modules = out.splitlines()
    assert version.startswith("hb ")
    heavy = {"argparse", "pydantic", "google.protobuf", "asyncio", "hermetic.errors", "tempfile", "json"}
    assert not heavy & set(modules.split())


@pytest.mark.parametrize("word", ["-//a:b", "-//a/...", "-:x"])
def test_negative_patterns_are_no_options(word: str) -> None:
    parser = Parser("test", "about", "example")
    parser.add_argument("pattern", nargs="+")
    add_build(parser)
    assert parser.parse(["//...", word, "--jobs", "3"]).pattern == ["//...", word]


def test_a_misspelt_option_gets_a_suggestion() -> None:
    parser = Parser("test", "about", "example")
    add_build(parser)
    with pytest.raises(CommandLineError, match="--kep-going") as caught:
        parser.parse(["--kep-going"])
    assert "did you mean '--keep-going'" in str(caught.value)


def test_a_defect_leaves_a_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    from hermetic.cli.verbs import info

    def broken(words: object) -> int:
        raise RuntimeError("a defect")

    monkeypatch.setattr(info, "main", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["info"]) == 37
    (report,) = tmp_path.iterdir()
    assert str(report) in capsys.readouterr().err
    assert "a defect" in report.read_text()


@pytest.mark.parametrize("number", [28, 30])  # ENOSPC, EROFS
def test_a_disk_that_refuses_is_no_defect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    from hermetic.cli.verbs import info

    def full(words: object) -> int:
        raise OSError(number, "refused", "/x")

    monkeypatch.setattr(info, "main", full)
    assert main(["info"]) == 1
    assert "/x cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_locale_without_a_character_breaks_nothing(tmp_path: Path, encoding: str) -> None:
    """Neither one of ours nor one of a path ends a command."""
    root = tmp_path / "ł é"
    root.mkdir()
    (root / "pyproject.toml").write_text("[tool.hb]\n")
    (root / "BUILD.py").write_text('from rules.basic import tree\ntree(name="a", files={"/f": "x"})\n')
    argv = [sys.executable, "-m", "hermetic.cli.main", "--store", str(tmp_path / "store")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "HB_STORE": str(tmp_path / "store")}
    for words, code, phrase in (
        (["build", "//:a"], 0, b"done: built 1"),
        (["build", "//:a"], 0, b"hit-local 1"),
        (["bulid", "//:a"], 2, "→ ".encode() if encoding == "utf-8" else b"-> "),
    ):
        done = subprocess.run([*argv[:3], *words], cwd=root, env=env, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        assert phrase in done.stderr
        assert encoding != "ascii" or (done.stdout + done.stderr).isascii()
        assert code or os.fsencode(root / "hb-out") in done.stdout or encoding != "utf-8"
