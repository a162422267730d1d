"""Paths that are not UTF-8: a workspace and a store may lie anywhere; names inside a tree may not be so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

ODD = os.fsdecode(b"odd\xff")
TARGET = 'command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out && cat a.txt > out/a")\n'


@pytest.fixture
def odd(workspace, tmp_path: Path):
    """The usual workspace, moved to where no text can name it."""
    workspace.write("a.txt", "one\n")
    workspace.build_file(TARGET)
    workspace.root.rename(tmp_path / ODD)
    return type(workspace)(tmp_path / ODD, tmp_path / f"store{ODD}")


def test_a_workspace_and_a_store_that_are_not_utf8(odd) -> None:
    code, said = hb(odd, "build", "//:a")
    assert code == 0, said
    assert os.fsencode(odd.root) in said
    assert (odd.root / "hb-out/a/a").read_text() == "one\n"
    odd.write("a.txt", "two\n")
    code, said = hb(odd, "build", "//:a")  # on what is remembered
    assert (code, (odd.root / "hb-out/a/a").read_text()) == (0, "two\n"), said
    odd.write("BUILD.py", (odd.root / "BUILD.py").read_text().replace("cat a.txt", "cat a.txt a.txt"))
    for words in (
        ("build", "//:a", "--profile", "trace.json", "--events", "events", "--summary", "page.md"),
        ("build", "--dry-run", "//:a"),
        ("log",),
        ("log", "last", "--action", "//:a"),
        ("why", "//:a"),
        ("query", "deps(//:a)"),
        ("query", "--actions", "//:a"),
        ("cache", "verify"),
        ("cache", "gc", "--keep-days", "1"),
        ("info",),
        ("clean",),
    ):
        code, said = hb(odd, *words)
        assert code == 0, (words, said)


def test_a_package_whose_folder_is_not_utf8(odd) -> None:
    odd.write(f"{ODD}/BUILD.py", "")
    for words in (["build", "//..."], ["query", "//..."], ["query", "-k", "//..."]):
        code, said = hb(odd, *words)
        assert code in (3, 7), said
        assert rb"odd\udcff/BUILD.py: '//odd\udcff': package name may not contain '\udcff'" in said
        assert b"rename the folder" in said
    (odd.root / ODD / "BUILD.py").unlink()
    assert hb(odd, "query", "//...")[0] == 0


def hb(workspace, *words: str) -> tuple[int, bytes]:
    """Exit code, and everything said: the bytes of a path are no text."""
    env = {**os.environ, "HB_STORE": str(workspace.store)}
    launcher = Path(__file__).parents[2] / "hb"
    done = subprocess.run([launcher, *words], cwd=workspace.root, env=env, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr
