"""Kept graphs: used while nothing changed, made again when anything did, or when they are damaged or foreign."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hermetic.errors import HbError
from hermetic.query import loading
from hermetic.query.answer import Question

if TYPE_CHECKING:
    from conftest import Asked

TREE = {
    "BUILD.py": "",
    "defs/flags.py": "FLAGS = ['-g']\n",
    "a/BUILD.py": "from defs.flags import FLAGS\nfrom rules.demo import compile\n"
    'compile(name="a", srcs=glob(["*.c"]), deps=["//b"], flags=FLAGS)\n',
    "a/a.c": "",
    "b/BUILD.py": 'from rules.demo import compile\ncompile(name="b", srcs=["src/b.c"])\n',
    "b/src/b.c": "",
    "c/BUILD.py": 'from rules.demo import compile\ncompile(name="c")\n',
}


@pytest.fixture
def asked(new_asked: Callable[[Mapping[str, str]], Asked]) -> Asked:
    return new_asked(TREE)


def loads(asked: Asked, query: str) -> int:
    """How many times a query had to load BUILD files."""
    before = asked.frontend.loads
    asked.labels(query)
    return asked.frontend.loads - before


def test_nothing_changed(asked: Asked) -> None:
    assert [loads(asked, "deps(//...)") for _ in range(3)] == [1, 0, 0]
    assert loads(asked, "deps(//a)") == loads(asked, "rdeps(//..., //b)") == 0  # the whole graph has it


def test_a_narrow_query_loads_what_it_needs(asked: Asked) -> None:
    asked.write({"c/BUILD.py": "fail('never loaded')\n"})
    assert loads(asked, "deps(//a)") == 1
    assert loads(asked, "deps(//b) + //a:all") == 0  # it was on the way
    with pytest.raises(HbError, match="never loaded"):
        asked.labels("//c")


def test_narrow_and_wide_queries_do_not_push_one_another_out(asked: Asked) -> None:
    assert loads(asked, "deps(//a)") == 1
    assert loads(asked, "//...") == 1
    assert [loads(asked, query) for query in ("deps(//a)", "//...", "//c")] == [0, 0, 0]


def test_narrow_queries_do_not_push_one_another_out(asked: Asked) -> None:
    assert [loads(asked, f"deps(//{name})") for name in "abcabc"] == [1, 0, 1, 0, 0, 0]  # b is behind a


def test_only_so_many_graphs_are_kept(asked: Asked) -> None:
    for number in range(loading.KEPT + 3):
        asked.write({f"n{number}/BUILD.py": ""})
        asked.labels(f"//n{number}:all")
    assert len(list(asked.state.iterdir())) == loading.KEPT
    assert loads(asked, f"//n{loading.KEPT + 2}:all") == 0
    assert loads(asked, "//n0:all") == 1


CHANGES: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "a BUILD.py": (
        {"b/BUILD.py": 'from rules.demo import compile\ncompile(name="b")\n'},
        ["//a:a", "//a:a.c", "//b:b"],
    ),
    "an imported file": ({"defs/flags.py": "FLAGS = ['-O']\n"}, ["//a:a", "//a:a.c", "//b:b", "//b:src/b.c"]),
    "a file that a glob sees": ({"a/new.c": ""}, ["//a:a", "//a:a.c", "//a:new.c", "//b:b", "//b:src/b.c"]),
    "a file that a glob saw": ({"a/a.c": None}, []),
    "a file that is named": ({"b/src/b.c": None}, []),
    "a package that takes a file": ({"b/src/BUILD.py": ""}, []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(asked: Asked, change: str) -> None:
    files, wanted = CHANGES[change]
    asked.labels("deps(//a)")
    asked.labels("deps(//...)")
    for path, text in files.items():
        if text is None:
            (asked.root / path).unlink()
        else:
            asked.write({path: text})
    for query in ("deps(//a)", "deps(//...) - //c"):
        if wanted:
            assert asked.labels(query) == wanted
        else:
            with pytest.raises(HbError):
                asked.labels(query)


def test_only_what_changed_is_evaluated_again(asked: Asked, capfd: pytest.CaptureFixture[str]) -> None:
    def evaluated() -> list[str]:
        asked.labels("deps(//...)")
        return sorted(capfd.readouterr().err.split())

    for name in "abc":
        asked.write({f"{name}/BUILD.py": f"print('{name}')\n" + TREE[f"{name}/BUILD.py"]})
    assert evaluated() == ["a", "b", "c"]
    assert evaluated() == []
    asked.write({"c/BUILD.py": "print('c')\n"})
    assert evaluated() == ["c"]
    asked.write({"a/another.c": ""})
    assert evaluated() == ["a"]
    asked.write({"defs/flags.py": "FLAGS = []\n"})
    assert evaluated() == ["a"]
    asked.write({"new/BUILD.py": "print('new')\n", "b/BUILD.py": "print('b')\n\n" + TREE["b/BUILD.py"]})
    assert evaluated() == ["b", "new"]


def test_a_history_of_changes_ends_where_a_fresh_load_begins(
    asked: Asked, new_asked: Callable[[Mapping[str, str]], Asked]
) -> None:
    """Random edits, each answered from what is left of the answer before; a fresh load agrees every time."""
    chance = random.Random(5)
    heads = ["from rules.demo import compile\n", "from defs.flags import FLAGS\nfrom rules.demo import compile\n"]
    for _ in range(40):
        name = chance.choice("abcd")
        edits = [
            {
                f"{name}/BUILD.py": chance.choice(heads)
                + f'compile(name="{name}", srcs=glob(["*.c"], allow_empty=True))\n'
            },
            {
                f"{name}/BUILD.py": heads[0]
                + f'compile(name="{name}", deps=["//{chance.choice("abc")}:x", ":x"])\ncompile(name="x")\n'
            },
            {f"{name}/{chance.choice('xyz')}.c": ""},
            {"defs/flags.py": chance.choice(["FLAGS = []\n", "OTHER = 1\n"])},
            {f"{name}/sub/BUILD.py": chance.choice(["", "x = (\n"])},
        ]
        asked.write(chance.choice(edits))
        if chance.random() < 0.2:
            for lost in (asked.root / name).glob("*.c"):
                lost.unlink()
        fresh = new_asked({})
        fresh.root = asked.root
        fresh.frontend.root = asked.root
        query = chance.choice(["deps(//...)", "deps(//a:all)", "rdeps(//..., //b:all)"])
        question = Question.of(query, keep_going=True)
        answers = [one.ask(question) for one in (asked, fresh)]
        first, second = ([one.catalogue.name(node) for node in sorted(one.found.nodes)] for one in answers)
        assert first == second
        assert sorted(map(str, answers[0].errors)) == sorted(map(str, answers[1].errors))


def test_a_new_package_is_noticed(asked: Asked) -> None:
    asked.labels("//...")
    asked.write({"new/deep/BUILD.py": 'from rules.demo import compile\ncompile(name="x")\n'})
    assert "//new/deep:x" in asked.labels("//...")


def test_what_does_not_matter_loads_nothing(asked: Asked) -> None:
    asked.labels("deps(//...)")
    asked.write({"a/a.c": "other content"})  # a source: its name counts, not what is in it
    (asked.root / "a/BUILD.py").touch()
    assert loads(asked, "deps(//...)") == 0


def _kept(asked: Asked) -> Path:
    asked.labels("deps(//...)")
    return asked.state / "all"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-1],
    "zeros in the middle": lambda data: data[: len(data) // 2] + bytes(99) + data[len(data) // 2 + 99 :],
    "another version": lambda data: data.replace(b"hb query 1", b"hb query 0", 1),
    "another program's": lambda data: b"SQLite format 3\0" * 99,
    "a letter of a label": lambda data: data.replace(b"//b:b\0", b"//b:q\0", 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_graph_is_made_again_without_a_word(
    asked: Asked, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _kept(asked)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert asked.labels("deps(//b)") == ["//b:b", "//b:src/b.c"]
    assert asked.frontend.loads == 2
    assert loads(asked, "deps(//b)") == 0
    assert capfd.readouterr() == ("", "")


def test_a_graph_of_another_workspace_is_not_used(
    asked: Asked, new_asked: Callable[[Mapping[str, str]], Asked]
) -> None:
    other = new_asked(TREE)
    (other.state / "all").write_bytes(_kept(asked).read_bytes())
    assert loads(other, "deps(//...)") == 1


def test_ignored_folders_belong_to_a_graph(asked: Asked) -> None:
    asked.labels("//...")
    source = loading.Source(asked.root, asked.state, ("c",), lambda: asked.frontend)  # type: ignore[arg-type,return-value]
    before = asked.frontend.loads
    source.targets(loading.Scope(("",)))
    assert asked.frontend.loads == before + 1


def test_a_folder_that_cannot_be_written_costs_time_only(asked: Asked, tmp_path: Path) -> None:
    asked.state = tmp_path / "file" / "state"
    (tmp_path / "file").write_text("in the way")
    assert loads(asked, "deps(//b)") == loads(asked, "deps(//b)") == 1


def test_a_graph_with_a_broken_package_is_not_kept(asked: Asked) -> None:
    """What a package that failed looked for is not known, so no change could be noticed."""
    asked.write({"c/BUILD.py": "from lost import X\n"})
    for _ in range(2):
        with pytest.raises(HbError, match=r"there is no file lost\.py"):
            asked.labels("//...")
    asked.write({"lost.py": "X = 1\n"})
    assert asked.labels("//c:all") == []


def test_files_that_changed_while_they_were_read_are_not_remembered(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = asked.frontend.targets

    def slow(*scope: Any) -> object:
        loaded = real(*scope)
        asked.write({"b/BUILD.py": 'from rules.demo import compile\ncompile(name="b")\n'})
        return loaded

    monkeypatch.setattr(asked.frontend, "targets", slow)
    asked.labels("deps(//b)")
    monkeypatch.undo()
    assert asked.labels("deps(//b)") == ["//b:b"]


def test_only_the_owner_reads_a_kept_graph(asked: Asked) -> None:
    assert os.stat(_kept(asked)).st_mode & 0o077 == 0
