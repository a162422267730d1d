"""Wrong command lines and wrong tables: every message names the place and the next step, and none is a defect."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hermetic.cli.main import main

CASES = json.loads((Path(__file__).parents[2] / "cases" / "commands.json").read_text(encoding="utf-8"))
PROJECT = """
[tool.hb]
[tool.hb.config.fast]
cuda = "1"
"""
TRUST = """[tool.hb.trust]
release = []
"""
ROOT = """
setting("cuda", "13", values=["12", "13"])
platform("linux-amd64", os="linux", arch="amd64")
"""
PACKAGE = """
from rules.basic import filegroup
filegroup(name="x", srcs=["BUILD.py"])
filegroup(name="y", srcs=["BUILD.py"])
"""


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, id=one["name"], marks=[pytest.mark.sandbox] if one.get("loads") else []) for one in CASES],
)
def test_a_wrong_command(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = case.get("project", "")
    (tmp_path / "p").mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT + ("" if "trust" in project else TRUST) + project)
    (tmp_path / "BUILD.py").write_text(ROOT)
    (tmp_path / "p/BUILD.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code = main(case["words"])
    said = capsys.readouterr().err
    assert code == case["code"], said
    assert [one for one in case["said"] if one not in said] == [], said
    assert "internal error" not in said
    assert "\n  → " in said, "it does not say what to do next"


@pytest.mark.parametrize("words", [["build", "//p:x"], ["config"], ["query", "//p:x"]])
def test_a_file_where_the_state_belongs(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / ".hb").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HB_STORE", str(tmp_path / "store"))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/.hb is not a folder" in said and "move it away" in said


@pytest.mark.parametrize(
    ("kind", "phrase"), [("fifo", "'odd' is not a regular file"), ("link", "'odd' is a link that leads to no file")]
)
@pytest.mark.sandbox
def test_a_source_that_is_no_file(
    kind: str, phrase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "BUILD.py").write_text('from rules.basic import filegroup\nfilegroup(name="x", srcs=["odd"])\n')
    if kind == "fifo":
        os.mkfifo(tmp_path / "odd")
    else:
        (tmp_path / "odd").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HB_STORE", str(tmp_path / "store"))
    assert main(["build", "//:x"]) == 7
    said = capsys.readouterr().err
    assert f"BUILD.py:2: {phrase}" in said and "did you mean" not in said
