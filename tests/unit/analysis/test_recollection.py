"""What the loader recalls after each kind of change: the graph is that of a load from nothing, always."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hermetic.analysis import recollection
from hermetic.analysis.analyser import Analyser
from hermetic.analysis.front import Answer, analyse
from hermetic.errors import HbError
from hermetic.loading.evaluate import Evaluator
from hermetic.loading.loader import Loader

FILES = {
    "BUILD.py": 'setting(name="mode", default="slow", values=["slow", "fast"])\n'
    'platform(name="linux-amd64", os="linux", arch="amd64")\n'
    'register_toolchains("//tools/...")\n',
    "a/BUILD.py": "from rules.basic import tree\nfrom lib.names import names\n"
    'package(default_visibility=["//visibility:public"])\n'
    '[tree(name=name, files={"/x": name}) for name in names()]\n',
    "b/BUILD.py": "from rules.basic import filegroup\n"
    'package(default_visibility=["//visibility:public"])\n'
    'filegroup(name="b", srcs=["//a:one", "//a:two"])\n',
    "c/BUILD.py": "from rules.basic import filegroup\n"
    'filegroup(name="c", srcs=["//b", "sub/file.txt"])\nfilegroup(name="all", srcs=glob(["*.txt"]))\n',
    "c/sub/file.txt": "x",
    "c/t.txt": "x",
    "d/BUILD.py": "from rules.basic import tree\n"
    'tree(name="d", files=select({"mode=fast": {"/f": "1"}, "default": {"/s": "1"}}))\n',
    "lib/names.py": 'def names():\n    return ["one", "two"]\n',
    "tools/BUILD.py": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / "ws" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ws" / path).write_text(text)
    (tmp_path / "cache").mkdir()
    return tmp_path / "ws"


class Child:
    """Loads as the loader child does, and counts what it evaluates and analyses."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.cache = root, root.parent / "cache"
        self.evaluated: list[str] = []
        self.analysed: list[str] = []
        package, target = Evaluator.package, Analyser._analyse

        def evaluating(evaluator, path, names):
            self.evaluated.append(path)
            return package(evaluator, path, names)

        def analysing(analyser, declaration, config):
            self.analysed.append(str(declaration.label))
            return target(analyser, declaration, config)

        monkeypatch.setattr(Evaluator, "package", evaluating)
        monkeypatch.setattr(Analyser, "_analyse", analysing)

    def load(self, name: str = "", changed: tuple[str, ...] = (), mode: str = "slow") -> tuple[Answer, str]:
        self.evaluated.clear()
        self.analysed.clear()
        loader = Loader(self.root)
        memory = recollection.recall(self.cache, name, changed, "linux-amd64") if name else None
        if memory:
            loader.recall(memory.packages, memory.seen)
        answer = analyse(
            loader,
            ["//..."],
            {"mode": mode},
            "linux-amd64",
            prepare=lambda analyser: recollection.restore(memory, analyser) if memory else None,
        )
        self.read = dict(loader.read_files), dict(loader.read_folders)
        kept = recollection.keep(self.cache, loader, answer.analyser, {"rules/basic.py": "1"}, answer.found)
        return answer, kept


@pytest.fixture
def child(root: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    return Child(root, monkeypatch)


def edit(path: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new))


# change → the paths it changes, the BUILD files that are evaluated again, the targets that are analysed again
CHANGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...], list[str], list[str]]] = {
    "nothing": (lambda root: None, (), [], []),
    "a leaf package": (edit("d/BUILD.py", '"1"', '"2"'), ("d/BUILD.py",), ["d/BUILD.py"], ["//d:d"]),
    "a package in the middle": (
        edit("b/BUILD.py", '"//a:one", ', ""),
        ("b/BUILD.py",),
        ["b/BUILD.py"],
        ["//b:b", "//c:c"],
    ),
    "a macro": (
        edit("lib/names.py", '"two"', '"two", "three"'),
        ("lib/names.py",),
        ["a/BUILD.py"],
        ["//a:one", "//a:three", "//a:two"],
    ),
    "a comment": (
        edit("a/BUILD.py", "package(", "# so\npackage("),
        ("a/BUILD.py",),
        ["a/BUILD.py"],
        ["//a:one", "//a:two"],
    ),
    "visibility": (
        edit("b/BUILD.py", "//visibility:public", "//d:__pkg__"),
        ("b/BUILD.py",),
        ["b/BUILD.py"],
        ["//b:b", "//c:c"],
    ),
    "a target that goes": (
        edit("a/BUILD.py", "names()]", "names()[:1]]"),
        ("a/BUILD.py",),
        ["a/BUILD.py"],
        ["//a:one", "//b:b", "//c:c"],
    ),
    "a globbed folder": (
        lambda root: (root / "c/u.txt").write_text(""),
        ("c",),
        ["c/BUILD.py"],
        ["//c:all", "//c:c"],
    ),
    "a file that was named and is a package's now": (
        lambda root: (root / "c/sub/BUILD.py").write_text(""),
        ("c/sub/BUILD.py",),
        ["c/BUILD.py", "c/sub/BUILD.py"],
        ["//c:all", "//c:c"],
    ),
    "a new package": (
        lambda root: ((root / "e").mkdir(), (root / "e/BUILD.py").write_text("")),
        ("",),
        ["e/BUILD.py"],
        [],
    ),
    "the root package": (
        edit("BUILD.py", 'default="slow"', 'default="fast"'),
        ("BUILD.py",),
        ["BUILD.py"],
        ["//a:one", "//a:two", "//b:b", "//c:all", "//c:c", "//d:d"],
    ),
    "a toolchain": (
        lambda root: (root / "tools/BUILD.py").write_text(
            'toolchain(name="t", kind="k", exec="linux-amd64", target="linux-amd64", impl="//a:one")\n'
        ),
        ("tools/BUILD.py",),
        ["tools/BUILD.py"],
        ["//a:one", "//a:two", "//b:b", "//c:all", "//c:c", "//d:d"],
    ),
    "a rule": (
        lambda root: None,
        ("rules/basic.py",),
        sorted(path for path in FILES if path.endswith("BUILD.py")),
        ["//a:one", "//a:two", "//b:b", "//c:all", "//c:c", "//d:d"],
    ),
    "something nobody knows": (
        lambda root: None,
        ("pyproject.toml",),
        sorted(path for path in FILES if path.endswith("BUILD.py")),
        ["//a:one", "//a:two", "//b:b", "//c:all", "//c:c", "//d:d"],
    ),
}


def outcome(load: Callable[[], tuple[Answer, str]]) -> object:
    try:
        answer = load()[0]
    except HbError as error:
        return str(error)
    return answer.lines, dict(answer.locks)


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_done_again(child: Child, name: str) -> None:
    change, paths, evaluated, analysed = CHANGES[name]
    _, kept = child.load()
    change(child.root)
    warm = outcome(lambda: child.load(kept, paths))
    assert sorted(child.evaluated) == evaluated
    assert sorted(set(child.analysed)) == analysed
    read = child.read
    assert warm == outcome(child.load)
    if not isinstance(warm, str):
        assert read == child.read


def test_memories_of_memories(child: Child) -> None:
    _, first = child.load()
    edit("d/BUILD.py", '"1"', '"2"')(child.root)
    _, second = child.load(first, ("d/BUILD.py",))
    edit("b/BUILD.py", '"//a:one", ', "")(child.root)
    warm = outcome(lambda: child.load(second, ("b/BUILD.py",)))
    assert child.evaluated == ["b/BUILD.py"]
    assert warm == outcome(child.load)
    # the older memory still serves, with more to do
    assert warm == outcome(lambda: child.load(first, ("d/BUILD.py", "b/BUILD.py")))
    assert sorted(child.evaluated) == ["b/BUILD.py", "d/BUILD.py"]


def test_another_setting(child: Child) -> None:
    _, kept = child.load()
    warm = outcome(lambda: child.load(kept, (), "fast"))
    assert child.evaluated == []
    assert warm == outcome(lambda: child.load("", (), "fast"))


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_memory_is_none(child: Child, damage: bytes | None) -> None:
    _, kept = child.load()
    (file,) = child.cache.glob("memory-*")
    file.write_bytes(damage if damage is not None else file.read_bytes()[:-1])
    child.load(kept)
    assert len(child.evaluated) == 6


def test_old_memories_go(child: Child) -> None:
    for number in range(recollection.KEPT + 4):
        edit("d/BUILD.py", "tree(", f"# {number}\ntree(")(child.root)
        child.load()
    assert len(list(child.cache.iterdir())) == recollection.KEPT
