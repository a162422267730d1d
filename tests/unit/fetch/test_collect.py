"""Taking what a worker left: nothing it made is followed, and only files, folders and links count."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hermetic.digest import Digest
from hermetic.errors import FetchError
from hermetic.fetch.collect import take_file, take_tree
from hermetic.tree import File, Meta, Symlink


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "scratch"
    (folder / "t").mkdir(parents=True)
    return folder


def test_a_tree(scratch: Path, store: Any) -> None:
    top = scratch / "t"
    (top / "d").mkdir()
    (top / "d" / "tool").write_text("t")
    (top / "d" / "tool").chmod(0o4755)
    (top / "link").symlink_to("../../secret")
    (top / "empty").mkdir()
    assert store.listing(take_tree(scratch, top, store)) == {
        "": Meta(),
        "d": Meta(),
        "d/tool": File(Digest.of(b"t"), True),
        "empty": Meta(),
        "link": Symlink("../../secret"),
    }
    assert not store.has(Digest.of(b"secret"))


def test_a_file_with_another_name_is_copied(scratch: Path, store: Any) -> None:
    (scratch / "f").write_text("x")
    os.link(scratch / "f", scratch / "g")
    assert take_file(scratch, scratch / "f", store) == Digest.of(b"x")
    (scratch / "g").write_text("changed later")
    assert store.read(Digest.of(b"x")) == b"x"


@pytest.mark.parametrize(
    ("make", "phrase"),
    [
        (lambda top: os.mkfifo(top / "p"), "/p is a named pipe"),
        (lambda top: Path(os.fsdecode(bytes(top) + b"/\xff")).write_text(""), "not UTF-8"),
        (lambda top: deep(top, 300), "directories deep"),
    ],
)
def test_what_a_tree_may_not_hold(scratch: Path, store: Any, make: Any, phrase: str) -> None:
    make(scratch / "t")
    with pytest.raises(FetchError, match=phrase):
        take_tree(scratch, scratch / "t", store)


def deep(top: Path, depth: int) -> None:
    for _ in range(depth):
        top = top / "d"
    top.mkdir(parents=True)


@pytest.mark.parametrize("take", [take_file, take_tree])
def test_paths_that_are_refused(scratch: Path, store: Any, take: Any) -> None:
    (scratch / "file-link").symlink_to("../secret")
    (scratch / "folder-link").symlink_to("..")
    for path in (
        scratch,
        scratch.parent / "secret",
        scratch / ".." / "secret",
        scratch / "file-link",
        scratch / "folder-link",
        scratch / "folder-link" / "secret",
        scratch / "folder-link" / "scratch" / "t",
        scratch / "missing",
    ):
        with pytest.raises(FetchError):
            take(scratch, path, store)
    assert not store.has(Digest.of(b"secret"))
