"""The page of a build and its annotations, on real builds: failed, changed, unchanged, and on a fresh machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

TARGETS = """
command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out && cat a.txt > out/a && sleep 0.2")
command(name="b", rootfs=":rootfs", srcs=["b.txt"], cmd="mkdir -p out && cat b.txt > out/b")
command(name="ab", rootfs=":rootfs", deps=[":a", ":b"], cmd="mkdir -p out && cat a/a b/b > out/ab")
"""
BAD = """
command(name="bad", rootfs=":rootfs", cmd="echo 'no | such ``` file'; echo ::error::injected; exit 7")
test_command(name="test", rootfs=":rootfs", cmd="mkdir -p out", is_test=True)
"""


@pytest.fixture
def project(workspace):
    workspace.write("a.txt", "one\n")
    workspace.write("b.txt", "two\n")
    workspace.build_file(TARGETS)
    return workspace


def test_a_page_of_every_way_a_build_goes(project, tmp_path: Path) -> None:
    page = tmp_path / "page.md"

    def build(*words: str) -> str:
        done = project.hb("build", "//:ab", "--summary", str(page), *words)
        assert done.code == 0, done.err
        return page.read_text()

    first = build()
    assert "no earlier result anywhere" in first
    assert "<code>//:a Command</code>" in first.partition("Critical path")[2]
    again = build()
    assert "## hb build //:ab: done" in again
    assert "hit rate **100 %**" in again and "of work" in again
    assert "Critical path" not in again and "Why" not in again
    project.write("b.txt", "three\n")
    edited = build()
    assert "| source b.txt edited | <code>//:b Command</code> | 1 |" in edited
    assert "no earlier result" not in edited
    # Without a history, results say themselves how long they took.
    shutil.copytree(project.store / "builds", tmp_path / "builds")
    shutil.rmtree(project.store / "builds")
    shutil.rmtree(project.root / ".hb")
    assert "hits saved **0." in build()
    # A fresh machine with the records of past builds, as the workflows of docs/guide/ci arrange it.
    shutil.rmtree(project.store)
    shutil.rmtree(project.root / ".hb")
    shutil.copytree(tmp_path / "builds", project.store / "builds")
    project.write("a.txt", "four\n")
    fresh = build()
    assert "source a.txt edited" in fresh
    assert "no earlier result" not in fresh


def test_failures_on_github(project, tmp_path: Path) -> None:
    project.build_file(TARGETS + BAD)
    line = (project.root / "BUILD.py").read_text().splitlines().index(BAD.splitlines()[1]) + 1
    page = tmp_path / "page.md"
    page.write_text("what an earlier command wrote\n")
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page), "GITHUB_WORKSPACE": str(project.root.parent)}
    done = project.hb("build", "//...", "--keep-going", env=github)
    assert done.code == 1
    (annotation,) = [one for one in done.err.splitlines() if one.startswith("::")]
    assert annotation.startswith(f"::error file=ws/BUILD.py,line={line},title=//%3Abad Command::")
    assert "%0A::error::injected" in annotation
    text = page.read_text()
    assert text.startswith("what an earlier command wrote\n## hb build //...: failed")
    assert f"<code>//:bad Command</code> | failed | <code>BUILD.py:{line}</code>" in text
    assert "````text\nno | such ``` file\n" in text
    assert project.hb("test", "//:test", env=github).code == 0
    assert "## hb test //:test: done" in page.read_text()
    project.build_file("command(nam=1)\n")
    broken = project.hb("build", "//...", env=github)
    assert broken.code == 7
    assert [one for one in broken.err.splitlines() if one.startswith("::error file=ws/BUILD.py,line=")]
    assert page.read_text().count("## hb build") == 2
    assert "| error |" in page.read_text()
