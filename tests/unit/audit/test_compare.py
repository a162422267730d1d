"""Traces, trees, words and plans compared, as values."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic import tree
from hermetic.audit.compare import changes
from hermetic.audit.plan import plan
from hermetic.audit.treediff import tree_differences
from hermetic.audit.why import ago
from hermetic.audit.words import clip, json_changes, line_changes, word_changes
from hermetic.digest import Digest
from hermetic.execution.records import State, Step, Trace
from hermetic.store.memory import MemoryStore
from hermetic.store.protocols import MissingBlob
from hermetic.tree import File, Meta, Symlink


def trace(*rows: Sequence[str]) -> Trace:
    return Trace("c/1", "", [[*row, ""][:3] for row in rows])


def said(old: Trace, new: Trace) -> list[tuple[str, str | None, str | None]]:
    return [(c.kind, c.old and c.old.digest, c.new and c.new.digest) for c in changes(old, new) if not c.moved]  # type: ignore[misc]


FILES = [(f"input f{n} at /{n:04d}", f"d{n}", "made //p:x#Run out") for n in range(5)]
ROWS = {
    "equal": (trace(("command", "a")), trace(("command", "a")), []),
    "changed": (trace(("command", "a")), trace(("command", "b")), [("command", "a", "b")]),
    "added": (trace(), trace(("environment A", "1")), [("environment", None, "1")]),
    "removed": (trace(("environment A", "1")), trace(), [("environment", "1", None)]),
    "another name": (
        trace(("environment A", "1")),
        trace(("environment B", "1")),
        [("environment", None, "1"), ("environment", "1", None)],
    ),
    "one more in the middle of a list": (
        trace(*[(f"input f at /{n}", f"d{n}", "made //p:x#Run out") for n in range(4)]),
        trace(*[(f"input f at /{n}", d, "made //p:x#Run out") for n, d in enumerate(("d0", "new", "d1", "d2", "d3"))]),
        [("input", None, "new")],
    ),
    "one less": (trace(*FILES), trace(*FILES[1:]), [("input", "d0", None)]),
    "one of them another": (
        trace(*FILES),
        trace(*FILES[:2], (FILES[2][0], "x", FILES[2][2]), *FILES[3:]),
        [("input", "d2", "x")],
    ),
    "a file renamed": (
        trace(("input a at /a", "d", "file a")),
        trace(("input b at /b", "d", "file b")),
        [("input", "d", "d")],
    ),
    "a file replaced by an unrelated one": (
        trace(("input a at /a", "d", "file a")),
        trace(("input b at /b", "e", "file b")),
        [("input", None, "e"), ("input", "d", None)],
    ),
    "a script rewritten": (
        trace(("input script at /s", "d", "inline")),
        trace(("input script at /s", "e", "inline")),
        [("input", "d", "e")],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_changes(name: str) -> None:
    old, new, wanted = ROWS[name]
    assert said(old, new) == wanted


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=12))
def test_moved_inputs_are_not_changes(parts: list[tuple[int, int]]) -> None:
    rows = [(f"input i{a} at /{n}", f"d{b}", f"made //p:t{a}#Run out") for n, (a, b) in enumerate(parts)]
    shuffled = [(f"input i{a} at /{n}", f"d{b}", f"made //p:t{a}#Run out") for n, (a, b) in enumerate(reversed(parts))]
    assert said(trace(*rows), trace(*shuffled)) == []


WORDS = [
    (["cc", "-O2", "a.c"], ["cc", "-O3", "a.c"], ["-O2 → -O3"]),
    (["cc", "a.c"], ["cc", "-g", "a.c"], ["+ -g"]),
    (["cc", "-g", "a.c"], ["cc", "a.c"], ["- -g"]),
    (["sh", "-c", "make all && make install"], ["sh", "-c", "make && make install"], ["- all"]),
    (["sh", "-c", "one\ntwo\nthree"], ["sh", "-c", "one\n2\nthree"], ["two → 2"]),
    (["x"] * 3, ["x"] * 3, []),
]


@pytest.mark.parametrize(("old", "new", "wanted"), WORDS)
def test_words(old: list[str], new: list[str], wanted: list[str]) -> None:
    assert word_changes(old, new) == wanted


def test_long_differences_are_cut() -> None:
    found = word_changes([f"a{n}" for n in range(0, 40)], [x for n in range(40) for x in (f"a{n}", f"b{n}")])
    assert len(found) == 7
    assert found[-1] == "and 34 more"
    assert len(clip("x" * 500)) == 160
    assert clip("a\x1b[31m\nb") == "a\\x1b[31m\\nb"


def test_lines_and_white_space() -> None:
    assert line_changes("a\nmake -j2\nb", "a\nmake -j4\nb") == ["-j2 → -j4"]
    assert line_changes("a\n  b", "a\nb") == ["only white space"]


def test_json_values() -> None:
    old, new = '{"a":{"b":1,"c":"x"},"l":["p","q"]}', '{"a":{"b":2,"c":"x","d":true},"l":["p"]}'
    assert json_changes(old, new) == ["a.b: 1 → 2", "a.d: + true", "l: - q"]


def make(store: MemoryStore, **nodes: File | Symlink | Meta) -> Digest:
    return tree.build({name.replace("__", "/"): node for name, node in nodes.items()}, store.put)


def test_trees() -> None:
    store = MemoryStore()
    one, two = File(store.put(b"one")), File(store.put(b"three"))
    old = make(
        store, a=one, gone__x=one, gone__y=one, same__z=one, link=Symlink("a"), own=one, kind=one, dir__=Meta(0o700)
    )
    new = make(
        store, a=two, new__x=two, same__z=one, link=Symlink("b"), own=File(one.digest, meta=Meta(uid=3)),
        kind__f=one, dir__=Meta(0o755),
    )  # fmt: skip
    found = [
        (one.path, one.what, one.old_size, one.new_size, one.detail) for one in tree_differences(old, new, store.read)
    ]
    assert found == [
        ("a", "edited", 3, 5, ""),
        ("dir", "mode", None, None, "700 → 755"),
        ("gone/x", "removed", 3, None, ""),
        ("gone/y", "removed", 3, None, ""),
        ("kind", "type", 3, None, "file → directory"),
        ("link", "link", None, None, "a → b"),
        ("new/x", "added", None, 5, ""),
        ("own", "owner", 3, 3, "0:0 → 3:0"),
    ]


def test_equal_directories_are_never_opened() -> None:
    store = MemoryStore()
    big = make(store, **{f"d__f{n}": File(store.put(str(n).encode())) for n in range(50)})
    old = tree.merge([big, make(store, top=File(store.put(b"a")))], store.read, store.put)
    new = tree.merge([big, make(store, top=File(store.put(b"b")))], store.read, store.put)
    opened: list[Digest] = []

    def load(digest: Digest) -> bytes:
        opened.append(digest)
        return store.read(digest)

    assert [one.path for one in tree_differences(old, new, load)] == ["top"]
    assert len(opened) == 2


def test_a_lost_directory_is_an_error_not_a_guess() -> None:
    store = MemoryStore()
    old, new = make(store, a=File(store.put(b"a"))), make(store, a=File(store.put(b"b")))
    del store.blobs[old]
    with pytest.raises(MissingBlob):
        list(tree_differences(old, new, store.read))


@given(st.dictionaries(st.from_regex(r"[a-c](/[a-c]){0,2}", fullmatch=True), st.integers(0, 2), max_size=6))
def test_applying_what_differs_to_nothing_gives_everything(files: dict[str, int]) -> None:
    store = MemoryStore()
    names = {p for p in files if not any(o != p and p.startswith(f"{o}/") for o in files)}
    root = tree.build({p: File(store.put(str(files[p]).encode())) for p in names}, store.put)
    found = {one.path for one in tree_differences(tree.EMPTY_TREE, root, store.read) if one.what == "added"}
    store.put(tree.EMPTY_DIR.encode())
    assert {path for path in found if not path.endswith("/")} == names


def chain(*needs: tuple[int, ...]) -> State:
    return State(tuple(Step(f"//:t{n}", "Run", "", f"k{n}", need) for n, need in enumerate(needs)))


def test_a_plan_follows_the_longest_way() -> None:
    state = chain((), (), (0,), (1,), (2, 3))
    known = {(f"//:t{n}", "Run", ""): float(wall) for n, wall in enumerate((1, 5, 1, 1, 2))}
    found = plan(state, range(5), known, 2)
    assert (found.work, found.path, found.wall) == (10.0, 8.0, 8.0)
    assert list(found.critical) == [1, 3, 4]
    assert plan(state, range(5), known, 1).wall == 10.0


def test_a_plan_guesses_by_mnemonic_and_says_so() -> None:
    state = chain((), (0,))
    found = plan(state, [0, 1], {("//:t0", "Run", ""): 3.0}, 4)
    assert found.seconds == {0: 3.0, 1: 3.0}
    assert set(found.guessed) == {1}
    assert plan(state, [], {}, 4).wall == 0.0


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_schedule_lies_between_its_bounds(walls: list[int], jobs: int, dice: object) -> None:
    needs = [tuple(m for m in range(n) if dice.random() < 0.3) for n in range(len(walls))]  # type: ignore[attr-defined]
    known = {(f"//:t{n}", "Run", ""): float(wall) for n, wall in enumerate(walls)}
    found = plan(chain(*needs), range(len(walls)), known, jobs)
    assert max(found.path, found.work / jobs) - 1e-6 <= found.wall <= found.work + 1e-6
    assert sum(found.seconds[n] for n in found.critical) == pytest.approx(found.path)


def test_ago() -> None:
    assert [ago(s) for s in (0, 30, 60, 7200, 86400 * 3)] == [
        "just now",
        "30 seconds ago",
        "1 minute ago",
        "2 hours ago",
        "3 days ago",
    ]
