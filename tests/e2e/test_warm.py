"""Builds from a snapshot: which way each change takes, and that every way ends like a build from nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermetic.cli import main as cli
from hermetic.execution.columns import Columns
from hermetic.execution.executor import Executor
from hermetic.execution.frontend import Frontend
from hermetic.execution.history import History
from hermetic.execution.lookup import Lookup
from hermetic.execution.records import State
from hermetic.execution.snapshot import magic
from hermetic.store.sections import Sections

ROOT = Path(__file__).parents[2]
BUILD = """
from rules.basic import filegroup, pick, tree
from tools import names

filegroup(name="left", srcs=glob(["left/*"]))
filegroup(name="right", srcs=["right/r.txt", "right/link"])
filegroup(name="both", srcs=[":left", ":right"])
pick(name="one", src=":both", files={"/picked": "/left/a.txt"})
[tree(name=name, files={"/x": name}) for name in names()]
tree(name="chosen", files=select({"mode=fast": {"/f": "fast"}, "default": {"/f": "slow"}}))
filegroup(name="plain", srcs=["right/r.txt"])
"""


@dataclass
class Hb:
    """hb in this process, counting what it does."""

    root: Path
    capsys: pytest.CaptureFixture[str]
    loads: int = 0
    runs: int = 0
    keys: int = 0
    rows: list[dict] = field(default_factory=list)
    summary: dict = field(default_factory=dict)
    code: int = 0

    def build(self, *words: str) -> Hb:
        self.loads = self.runs = self.keys = 0
        self.capsys.readouterr()
        self.code = cli.main(["build", *words, "--json"])
        lines = [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]
        self.rows, self.summary = lines[:-1], lines[-1]["summary"] if lines else {}
        return self

    @property
    def way(self) -> str:
        return "loaded" if self.loads else "rebuilt" if self.runs else "nothing"

    @property
    def built(self) -> int:
        outcomes = self.summary.get("outcomes", {})
        return outcomes.get("built", 0) + outcomes.get("evicted", 0)

    def places(self) -> list[tuple[str, str, str]]:
        return [(row["label"], row["digest"], row["path"]) for row in self.rows]

    def shown(self) -> dict[str, str]:
        return {row["label"]: row["digest"] for row in self.rows}


@pytest.fixture
def hb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hb:
    root = tmp_path / "ws"
    for name in ("rules", "toolchains"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("locks", "__pycache__", "BUILD.py"))
    (root / "pyproject.toml").write_text("[tool.hb]\n")
    (root / "BUILD.py").write_text('setting(name="mode", default="slow", values=["slow", "fast"])\n' + BUILD)
    (root / "tools.py").write_text('def names():\n    return ["t1", "t2"]\n')
    for path, text in {"left/a.txt": "a", "left/b.txt": "b", "right/r.txt": "r"}.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    (root / "right/link").symlink_to("r.txt")
    monkeypatch.setenv("HB_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(root)
    found = Hb(root, capsys)
    graph, run, key = Frontend.graph, Executor.run, Lookup.key

    def loading(*args, **kwargs):
        found.loads += 1
        return graph(*args, **kwargs)

    def running(*args, **kwargs):
        found.runs += 1
        return run(*args, **kwargs)

    def looking(*args, **kwargs):
        found.keys += 1
        return key(*args, **kwargs)

    monkeypatch.setattr(Lookup, "key", looking)
    monkeypatch.setattr(Frontend, "graph", loading)
    monkeypatch.setattr(Executor, "run", running)
    return found


def edit(path: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text(text)


def append(path: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text() + text)


def relink(root: Path) -> None:
    (root / "right/link").unlink()
    (root / "right/link").symlink_to("../left/a.txt")


# what changes → the way the next build takes, and how many actions run in it
CHANGES: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "nothing": (lambda root: None, "nothing", 0),
    "an edited source": (edit("left/a.txt", "new"), "rebuilt", 2),
    "a source that a link leads to": (edit("right/r.txt", "new"), "rebuilt", 1),
    "a source that is not picked": (edit("left/b.txt", "new"), "rebuilt", 1),
    "a touched source": (lambda root: os.utime(root / "left/a.txt"), "rebuilt", 0),
    "a source made executable": (lambda root: (root / "left/a.txt").chmod(0o755), "rebuilt", 2),
    "a link led elsewhere": (relink, "loaded", 1),
    "an added file": (edit("left/c.txt", "c"), "loaded", 1),
    "a removed file": (lambda root: (root / "left/b.txt").unlink(), "loaded", 1),
    "a comment in BUILD.py": (append("BUILD.py", "# so\n"), "loaded", 0),
    "a macro": (edit("tools.py", 'def names():\n    return ["t1", "t3"]\n'), "loaded", 1),
    "a rule": (append("rules/basic.py", "# so\n"), "loaded", 0),
    "a new package": (lambda root: (root / "left/BUILD.py").write_text(""), "loaded", 0),
    "pyproject.toml": (edit("pyproject.toml", '[tool.hb.settings]\nmode = "fast"\n'), "loaded", 1),
    "hb-out removed": (lambda root: shutil.rmtree(root / "hb-out"), "rebuilt", 0),
    "one result removed": (lambda root: (root / "hb-out/one").unlink(), "rebuilt", 0),
    "one result led elsewhere": (
        lambda root: ((root / "hb-out/one").unlink(), (root / "hb-out/one").symlink_to("/etc")),
        "rebuilt",
        0,
    ),
    "hb's own state removed": (lambda root: shutil.rmtree(root / ".hb"), "loaded", 0),
    "the store removed": (lambda root: shutil.rmtree(root.parent / "store"), "loaded", 5),
    "a file nobody reads": (edit("right/other.txt", ""), "loaded", 0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_ways(hb: Hb, name: str) -> None:
    change, way, built = CHANGES[name]
    assert hb.build("//...").code == 0
    before = hb.shown()
    change(hb.root)
    first = hb.build("//...")
    assert first.code == 0 or name == "a new package"
    assert (first.way, first.built) == (way, built)
    if first.code == 0:
        after = hb.shown()
        assert (after != before) == (built > 0 and name != "the store removed")
        assert hb.build("//...").way == "nothing"
        assert hb.shown() == after
        shutil.rmtree(hb.root / ".hb")
        assert hb.build("//...").shown() == after
        assert all(Path(row["path"]).exists() for row in hb.rows)


def kept(hb: Hb) -> tuple[State, Columns]:
    """What the history and the snapshot say of the last build."""
    history = History(hb.root.parent / "store" / "builds")
    head = max(history.heads(), key=lambda one: one.id)
    place = max((hb.root / ".hb" / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    with Sections(place, magic()) as sections:
        return history.state(head), Columns.read(sections)


def moved_lines(root: Path) -> None:
    (root / "BUILD.py").write_text("# so\n" + (root / "BUILD.py").read_text())


def more(root: Path, number: int) -> None:
    """One package more or less."""
    place = root / f"more{number}"
    if place.exists():
        shutil.rmtree(place)
        return
    place.mkdir()
    (place / "m.txt").write_text("m")
    lines = ["from rules.basic import filegroup, tree", f'tree(name="m", files={{"/x": "{number}"}})']
    lines += ['filegroup(name="f", srcs=["m.txt"])', 'tree(name="same", files={"/x": "t1"})']
    (place / "BUILD.py").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("seed", range(3))
def test_many_edits_in_turn(hb: Hb, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any of them hb knows and shows what a build from nothing would: each build starts from the last."""
    chance = random.Random(seed)
    edits: list[Callable[[], object]] = [
        lambda: edit("left/a.txt", str(chance.random()))(hb.root),
        lambda: edit("left/b.txt", str(chance.random()))(hb.root),
        lambda: edit("right/r.txt", str(chance.randrange(2)))(hb.root),
        lambda: edit(f"left/{chance.choice('cd')}.txt", "x")(hb.root),
        lambda: (hb.root / "left/c.txt").unlink(missing_ok=True),
        lambda: edit("tools.py", f"def names():\n    return {chance.sample(['t1', 't2', 't3'], 2)}\n")(hb.root),
        lambda: moved_lines(hb.root),
        lambda: more(hb.root, chance.randrange(3)),
    ]
    hb.build("//...")
    for step in range(8):
        for change in chance.sample(edits, chance.randrange(1, 4)):
            change()
        assert hb.build("//...").code == 0, step
        warm = hb.places(), *kept(hb)
        beside = hb.root.rename(hb.root.parent / "aside")
        shutil.copytree(beside, hb.root, symlinks=True, ignore=shutil.ignore_patterns(".hb"))
        monkeypatch.chdir(hb.root)
        assert hb.build("//...").code == 0
        assert (hb.places(), *kept(hb)) == warm, step
        shutil.rmtree(hb.root)
        beside.rename(hb.root)
        monkeypatch.chdir(hb.root)


def test_what_is_looked_at(hb: Hb) -> None:
    """Keys are made of what may have changed, and of nothing else."""
    assert hb.build("//...").keys == 6
    append("BUILD.py", "# so\n")(hb.root)
    assert (hb.build("//...").way, hb.keys) == ("loaded", 0)
    edit("BUILD.py", "# first\n\n" + (hb.root / "BUILD.py").read_text())(hb.root)  # every line moves
    assert (hb.build("//...").way, hb.keys) == ("loaded", 0)
    append("BUILD.py", 'tree(name="new", files={"/x": "new"})\n')(hb.root)
    assert (hb.build("//...").way, hb.keys, hb.built) == ("loaded", 1, 1)
    edit("tools.py", 'def names():\n    return ["t1", "t3"]\n')(hb.root)
    edit("left/b.txt", "new")(hb.root)
    # t3 is new; what both and one merge holds b.txt, and one picks from another tree
    assert (hb.build("//...").way, hb.keys) == ("loaded", 4)
    assert hb.build("//...", "--set", "mode=fast").keys == 7  # nothing is remembered of this command line
    edit("left/b.txt", "newer")(hb.root)
    assert (hb.build("//...").way, hb.keys, hb.built) == ("rebuilt", 3, 1)
    append("rules/basic.py", "# so\n")(hb.root)
    assert (hb.build("//...").way, hb.keys) == ("loaded", 0)


def test_every_damage_of_a_snapshot_is_harmless(hb: Hb) -> None:
    expected = hb.build("//...").shown()
    (snapshot,) = (hb.root / ".hb/snapshots").iterdir()
    data = snapshot.read_bytes()
    for damage in (b"", data[:200], b"x" + data[1:], data.replace(b"//:one", b"//:two")):
        snapshot.write_bytes(damage)
        assert hb.build("//...").shown() == expected
        assert hb.way == "loaded"
        assert hb.build("//...").way == "nothing"
    snapshot.write_bytes(snapshot.read_bytes()[:-1])  # the end of the graph, which is read to build with
    assert hb.build("//...").way == "nothing"
    (hb.root / "left/a.txt").write_text("new")
    assert hb.build("//...").way == "loaded"
    assert (hb.root / "hb-out/one/picked").read_text() == "new"


def test_another_version_of_hb(hb: Hb, monkeypatch: pytest.MonkeyPatch) -> None:
    hb.build("//...")
    monkeypatch.setattr("hermetic.__version__", "99")
    assert hb.build("//...").way == "loaded"


def test_a_failure_is_not_remembered(hb: Hb) -> None:
    hb.build("//...")
    (hb.root / "left/a.txt").unlink()
    assert hb.build("//...").code != 0
    (hb.root / "left/a.txt").write_text("a")
    assert hb.build("//...").code == 0
    assert hb.built == 0


def test_a_doubtful_success_is_not_remembered(hb: Hb, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner stores no result of an action it has doubts about."""
    with monkeypatch.context() as doubt:
        doubt.setattr("hermetic.store.disk.DiskStore.put_result", lambda *_: None)
        assert hb.build("//:one", "//:t1").code == 0
    stored = hb.build("//:one", "//:t1")
    assert (stored.way, stored.built > 0) == ("loaded", True)
    assert hb.build("//:one", "//:t1").way == "nothing"


@pytest.mark.parametrize("first", [append("BUILD.py", "# so\n"), edit("left/b.txt", "new")], ids=["part", "sources"])
def test_an_edit_while_a_part_is_built_is_noticed(
    hb: Hb, monkeypatch: pytest.MonkeyPatch, first: Callable[[Path], object]
) -> None:
    """Of a source that this build has no reason to look at: it is what it was when its result was made."""
    hb.build("//...")
    first(hb.root)
    with monkeypatch.context() as meanwhile:
        run = Executor.run

        def running(*args, **kwargs):
            result = run(*args, **kwargs)
            edit("left/a.txt", "meanwhile")(hb.root)
            return result

        meanwhile.setattr(Executor, "run", running)
        hb.build("//...")
    assert hb.build("//...").built == 2
    assert (hb.root / "hb-out/one/picked").read_text() == "meanwhile"


def test_each_command_line_has_its_own(hb: Hb) -> None:
    hb.build("//:one")
    assert hb.build("//:both").way == "loaded"
    assert hb.build("//:one").way == "nothing"
    assert hb.build("//:one", "--set", "mode=fast").way == "loaded"
    assert hb.build("//:one").way == "nothing"


def test_a_dry_run_remembers_nothing(hb: Hb) -> None:
    hb.build("//...", "--dry-run")
    assert hb.build("//...").way == "loaded"
    assert hb.build("//...", "--dry-run").way == "loaded"


def test_lost_intermediate_results_are_made_again(hb: Hb) -> None:
    """The edited action's inputs are gone from the store: the way over the snapshot gives up."""
    hb.build("//:one")
    shutil.rmtree(hb.root.parent / "store/cas")
    (hb.root / "left/a.txt").write_text("new")
    assert hb.build("//:one").code == 0
    assert (hb.root / "hb-out/one/picked").read_text() == "new"


def test_a_null_build_imports_no_more_than_it_needs(hb: Hb) -> None:
    hb.build("//...")
    words = [sys.executable, "-s", "-X", "importtime", "-m", "hermetic.cli.main", "build", "//...", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hermetic.cli.null" in imported
    heavy = {"pydantic", "google.protobuf", "hermetic.action", "hermetic.cli.session", "sqlite3", "argparse", "asyncio"}
    assert not heavy & imported
