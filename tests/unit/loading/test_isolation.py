"""What a package can do to others, to the machine and to the next build: nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.errors import BuildFileError, HbError, LabelError, from_dict
from hermetic.execution.frontend import answer_in
from hermetic.loading.loader import Loader
from hermetic.loading.vet import vet

ROOT = Path(__file__).parents[3]
FRAGMENTS = (
    "().__class__", "glob.__globals__", "getattr", "x.f_back", "''.format", "lambda: 0", "import os", "open('/etc/passwd')",
    "[y for y in x]", "x = 1", "def f(): return f", "f'{x.__dict__}'", "__builtins__", "type", "x[0]()", "(yield)",
    "from rules.basic import filegroup", "eval", "{**x}", "*x", "x.mro()", "(g for g in x).gi_frame",
)  # fmt: skip


def write(top: Path, files: dict[str, str]) -> Loader:
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    return Loader(top)


def test_a_function_remembers_nothing_from_one_package_to_the_next(tmp_path: Path) -> None:
    """Neither through its module's values nor through its defaults: the order of loading must not show."""
    count = "seen = []\ndef count(word, more=[]):\n    seen.append(word)\n    more.append(word)\n    return [len(seen), len(more)]\n"
    user = "from shared import count\nassert count('x') == [1, 1]\nassert count('y') == [2, 2]\n"
    loader = write(tmp_path, {"shared.py": count, "p/BUILD.py": user, "q/BUILD.py": user})
    loader.package("p")
    loader.package("q")


def test_a_workspace_file_that_declares_does_so_for_each_package(tmp_path: Path) -> None:
    declare = "from rules.basic import filegroup\nfilegroup(name='x')\nvalue = 1\n"
    user = "from shared import value\n"
    loader = write(tmp_path, {"shared.py": declare, "p/BUILD.py": user, "q/BUILD.py": user})
    for package in ("p", "q"):
        assert str(loader.package(package).declarations["x"].location) == f"{package}/BUILD.py:1"


def test_what_a_rule_module_lends_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rules.basic

    monkeypatch.setattr(rules.basic, "NAMES", ["a"], raising=False)
    text = "from rules.basic import NAMES\nNAMES.append('b')\n"
    write(tmp_path, {"BUILD.py": text}).package("")
    assert rules.basic.NAMES == ["a"]  # type: ignore[attr-defined]


def test_a_glob_in_very_deep_folders(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 300)
    write(tmp_path, {f"{deep}/f.c": "", "BUILD.py": "found = glob(['**/*.c'])\nassert len(found) == 1\n"}).package("")


def test_a_glob_of_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "a.c").write_text("")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.c"
    outside.write_text("secret")
    (tmp_path / "out.c").symlink_to(outside)
    (tmp_path / "gone.c").symlink_to("nowhere")
    try:
        package = write(tmp_path, {"BUILD.py": "glob(['**/*.c'])\n"}).package("")
    finally:
        outside.unlink()
    assert [result for _, _, result in package.globs] == [("a.c",)]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A matched file is refused, an excluded one is none of our business, a folder is no package."""
    (tmp_path / os.fsdecode(b"a\xff.c")).write_text("")
    (tmp_path / "b.c").write_text("")
    with pytest.raises(BuildFileError, match="is not UTF-8") as caught:
        write(tmp_path, {"BUILD.py": "\nglob(['*.c'])\n"}).package("")
    assert str(caught.value.location) == "BUILD.py:2"
    assert write(tmp_path, {"BUILD.py": "glob(['*.c'], exclude=['a*'])\n"}).package("").globs[0][2] == ("b.c",)
    folder = os.fsdecode(b"p\xff")
    with pytest.raises(LabelError, match="may not contain"):
        write(tmp_path, {f"{folder}/BUILD.py": ""}).package(folder)


@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4), st.sampled_from(["\n", "; ", " + ", "(", "."]))
def test_what_the_vet_lets_pass_names_nothing_hidden(parts: list[str], joint: str) -> None:
    import ast

    try:
        module = vet(joint.join(parts).encode(), "BUILD.py")
    except HbError as error:
        assert error.location is not None
        return
    for node in ast.walk(module):
        for name in (getattr(node, "attr", ""), getattr(node, "id", "")):
            assert not str(name).startswith("__")
        assert not isinstance(node, ast.Import | ast.Lambda | ast.Yield)


@given(st.binary(max_size=200))
def test_any_bytes_are_python_or_a_vet_error(data: bytes) -> None:
    try:
        vet(data, "BUILD.py")
    except HbError as error:
        assert error.exit_code == 7


def child(workspace: Path, **more: object) -> dict:
    request = {"what": "graph", "workspace": str(workspace), "patterns": ["//..."], "settings": {}, "memory": 4 << 30,
               "exec_platform": "linux-amd64", "cpu_seconds": 20, **more}  # fmt: skip
    argv = [sys.executable, "-m", "hermetic.analysis.child"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, input=json.dumps(request).encode(), capture_output=True, check=True, env=environment)
    return answer_in(done.stdout)


@pytest.mark.parametrize("where", ["BUILD.py", "macros.py"])
def test_an_endless_loop_is_stopped_and_named(where: str, tmp_path: Path) -> None:
    loop = "def spin():\n    for i in range(1000000000000):\n        x = i\n"
    files = {"p/BUILD.py": f"{loop}spin()\n"}
    if where == "macros.py":
        files = {"macros.py": loop, "p/BUILD.py": "from macros import spin\n\nspin()\n"}
    platform = "platform(name='linux-amd64', os='linux', arch='amd64')\n"
    write(tmp_path, {**files, "BUILD.py": platform})
    error = from_dict(child(tmp_path, cpu_seconds=4)["errors"][0])
    assert isinstance(error, BuildFileError)
    assert "took longer than" in error.message
    assert error.location is not None
    assert error.location.path == ("p/BUILD.py" if where == "BUILD.py" else "macros.py")
    assert error.location.line in (2, 3)


@pytest.mark.parametrize(
    "bomb", ["x = 'a' * 100000000000", "x = [0]\nfor i in range(100):\n    x = x + x", "x = list(range(1000000000))"]
)
def test_a_bomb_in_the_child_is_an_error_of_its_file(bomb: str, tmp_path: Path) -> None:
    write(tmp_path, {"BUILD.py": f"platform(name='linux-amd64', os='linux', arch='amd64')\n\n{bomb}\n"})
    error = from_dict(child(tmp_path, memory=1 << 30)["errors"][0])
    assert "memory" in error.message
    assert str(error.location).startswith("BUILD.py")
