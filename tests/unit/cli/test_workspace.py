"""[tool.hb]: what it may say, what wins, and what a mistake is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermetic.cli.workspace import Workspace, find
from hermetic.errors import BuildFileError, CommandLineError


def workspace(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, errors="surrogateescape")
    return folder


def test_the_workspace_is_found_upwards(tmp_path: Path) -> None:
    root = workspace(tmp_path, "[tool.hb]\n")
    (root / "a/b").mkdir(parents=True)
    (root / "a/pyproject.toml").write_text("[project]\nname = 'another tool'\n")
    found = find(root / "a/b")
    assert (found.root, found.package) == (root, "a/b")


def test_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(CommandLineError, match="not in a workspace"):
        find(tmp_path)


def test_later_settings_win_and_know_where_they_come_from(tmp_path: Path) -> None:
    root = workspace(
        tmp_path,
        '[tool.hb.settings]\na = "file"\nb = "file"\nc = "file"\n[tool.hb.config.x]\nb = true\nc = "x"\n',
    )
    found = find(root, ["x"], ["c=line=2"])
    assert {name: (one.value, one.origin) for name, one in found.settings.items()} == {
        "a": ("file", "[tool.hb.settings]"),
        "b": ("true", "--config=x"),
        "c": ("line=2", "--set"),
    }


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("[tool.hb]\njbos = 2\n", "did you mean 'jobs'"),
        ('[tool.hb]\njobs = "2"\n', "'jobs' in [tool.hb] is a whole number"),
        ("[tool.hb]\njobs = true\n", "is a whole number"),
        ("[tool.hb]\nsettings = 1\n", "is a table"),
        ("[tool.hb.config]\nx = 1\n", "[tool.hb.config.x] is a table of settings"),
        ("[tool.hb.config.x]\na = [1]\n", "[tool.hb.config.x] is a table of settings"),
        ("[tool.hb.settings]\na = {}\n", "[tool.hb.settings] is a table of settings"),
        ("[tool.hb\n", "is not TOML"),
        ("[tool.hb]\njobs = -1\n", "is a whole number from 0 up, not -1"),
        ("[tool.hb]\nignore = [1]\n", "is a list of texts, not [1]"),
        ("[tool]\nhb = 1\n", "[tool.hb] is a table, not 1"),
        ('#\n[tool.hb]\nstore = "\udcff"\n', "pyproject.toml:3: is not UTF-8"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, phrase: str) -> None:
    with pytest.raises(BuildFileError) as caught:
        find(workspace(tmp_path, text))
    assert phrase in str(caught.value)
    assert "pyproject.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "sets", "phrase"),
    [(["fst"], [], "did you mean 'fast'"), ([], ["x"], "NAME=VALUE"), ([], ["=1"], "NAME=VALUE")],
)
def test_a_wrong_command_line(tmp_path: Path, config: list[str], sets: list[str], phrase: str) -> None:
    with pytest.raises(CommandLineError) as caught:
        find(workspace(tmp_path, "[tool.hb.config.fast]\n"), config, sets)
    assert phrase in str(caught.value)


def test_which_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find(workspace(tmp_path, '[tool.hb]\nstore = "/from/file"\n'))
    monkeypatch.delenv("HB_STORE", raising=False)
    assert found.store_path(None) == Path("/from/file")
    monkeypatch.setenv("HB_STORE", "/from/environment")
    assert found.store_path(None) == Path("/from/environment")
    assert found.store_path("/from/flag") == Path("/from/flag")


def test_the_state_of_a_workspace_that_may_not_be_written(tmp_path: Path) -> None:
    """Whatever bytes its path has."""
    gone = [Workspace(tmp_path / name, {}) for name in ("a", os.fsdecode(b"b\xff"))]
    states = {one.state_beside(tmp_path / "store") for one in gone}
    assert len(states) == 2 and all(one.parent == tmp_path / "store" / "workspaces" for one in states)
