"""Scratch folders: gone with their command, however it ended, and never under a live one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hermetic.cli.scratch import KEPT, scratch_folder

KILLED = """
import os, sys
from pathlib import Path
from hermetic.cli.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "left").mkdir()
    os.kill(os.getpid(), 9)
"""


def test_gone_at_the_end_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), scratch_folder(tmp_path) as folder:
        (folder / "locked").mkdir(mode=0)
        raise ValueError
    assert not any((tmp_path / "work").iterdir())


def test_kept_when_asked_for(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, keep=True) as folder:
        (folder / "x").touch()
    with scratch_folder(tmp_path):
        pass
    assert [one.name.startswith(KEPT) for one in (tmp_path / "work").iterdir()] == [True]


def test_a_live_folder_stays(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as first:
        with scratch_folder(tmp_path) as second:
            assert first.exists()
            assert second.exists()
        assert first.exists()


def test_what_a_killed_command_left_goes_with_the_next(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -9
    assert len(list((tmp_path / "work").iterdir())) == 1
    with scratch_folder(tmp_path) as folder:
        assert [folder] == list((tmp_path / "work").iterdir())


def test_what_killed_writers_left_goes_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming = tmp_path / "tmp"
    (incoming / "half-staged" / "locked").mkdir(parents=True)
    (incoming / "half-staged" / "locked").chmod(0)
    (incoming / "half-a-blob").write_text("x")
    (incoming / "link").symlink_to("/etc")
    with scratch_folder(tmp_path):
        assert len(list(incoming.iterdir())) == 3
    monkeypatch.setattr("hermetic.cli.scratch.STALE", -60)
    with scratch_folder(tmp_path):
        assert list(incoming.iterdir()) == []
