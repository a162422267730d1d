"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermetic.files import keep_newest, write_whole


def test_a_file_with_its_folder_and_mode(tmp_path: Path) -> None:
    write_whole(tmp_path / "a/b", [b"one", b"two"], 0o644)
    assert (tmp_path / "a/b").read_bytes() == b"onetwo"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o644
    write_whole(tmp_path / "a/b", [b"three"])
    assert (tmp_path / "a/b").read_bytes() == b"three"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "file", [b"old"])
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", failing())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_newest_stay(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_text("")
        os.utime(tmp_path / str(number), (number, number))
    keep_newest(tmp_path.iterdir(), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]
