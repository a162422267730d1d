"""Lock files: what is written is read; what is not ours is refused by file and line."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.errors import FetchError, InternalError
from hermetic.fetch import lock, lockfile

PIN = "a" * 64
WORD = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1, max_size=12).filter(
    lambda word: not word.startswith(("#", *lockfile.CONFLICT))
)
LINES = st.lists(st.tuples(WORD, st.just(PIN), WORD).map(" ".join))
SPECS = st.dictionaries(WORD, st.one_of(WORD, st.booleans(), st.lists(WORD, max_size=3)), max_size=4)


@given(LINES, SPECS)
def test_what_is_written_is_read(lines: list[str], spec: dict[str, object]) -> None:
    text = lockfile.write("debian", spec, lines)
    assert [" ".join(words) for words in lockfile.entries(text, 3)] == sorted(set(lines))
    assert not lockfile.is_stale(text, "debian", spec)


@given(LINES, SPECS, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(lines: list[str], spec: dict[str, object], order: random.Random) -> None:
    shuffled = [*lines, *lines[:2]]
    order.shuffle(shuffled)
    assert lockfile.write("debian", spec, shuffled) == lockfile.write("debian", spec, lines)


@given(SPECS, SPECS)
def test_another_specification_makes_it_stale(one: dict[str, object], other: dict[str, object]) -> None:
    text = lockfile.write("python", one, [])
    assert lockfile.is_stale(text, "python", other) == (one != other)
    assert lockfile.is_stale(text, "debian", one)


@pytest.mark.parametrize("text", ["", "\n", "# hb lock python\n", "name 1.0\n"])
def test_what_has_no_header_is_stale(text: str) -> None:
    assert lockfile.is_stale(text, "python", {})


@pytest.mark.parametrize("mark", ["<<<<<<< HEAD", "||||||| base", "=======", ">>>>>>> branch"])
def test_a_merge_conflict_is_called_that(mark: str) -> None:
    with pytest.raises(FetchError, match="merge conflict") as caught:
        lockfile.entries(f"# hb lock debian x\nname {PIN}\n{mark}\n", 2, "locks/base.lock")
    assert str(caught.value).startswith("locks/base.lock:3: ")
    assert "→" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"name {PIN} more", "has 3 words, not 2"),
        (PIN, "has 1 words, not 2"),
        (f"name {PIN[1:]}", "no SHA-256"),
        (f"name {PIN.upper()}", "no SHA-256"),
        (f"name {PIN}0", "no SHA-256"),
    ],
)
def test_a_wrong_line_is_named(line: str, why: str) -> None:
    with pytest.raises(FetchError, match=why) as caught:
        lockfile.entries(f"\n# note\nname {PIN}\n{line}\n", 2, "a.lock")
    assert "a.lock:4" in str(caught.value)


def test_git_merges_independent_changes(tmp_path: Path) -> None:
    """Two people add a package each, far enough apart: git merges the lines by itself."""
    names = [f"p{number:02d} {PIN}" for number in range(0, 60, 4)]
    base, ours, theirs = tmp_path / "base", tmp_path / "ours", tmp_path / "theirs"
    base.write_text(lockfile.write("debian", {}, names))
    ours.write_text(lockfile.write("debian", {}, [*names, f"p03 {PIN}"]))
    theirs.write_text(lockfile.write("debian", {}, [*names, f"p50 {PIN}"]))
    argv = ["git", "merge-file", "-p", str(ours), str(base), str(theirs)]
    merged = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert merged == lockfile.write("debian", {}, [*names, f"p03 {PIN}", f"p50 {PIN}"])


def test_every_kind_of_lock_has_its_resolver() -> None:
    import importlib

    for place in lock.RESOLVERS.values():
        module, _, name = place.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_an_unknown_kind_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="'npm'"):
        lock.resolve("npm", {}, tmp_path)
