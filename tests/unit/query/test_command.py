"""hb query as people call it: the launcher's command line, the box, exit codes, streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hermetic.cli.main import main
from hermetic.cli.verbs.query import expression_of

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.sandbox

TREE = {
    "pyproject.toml": '[tool.hb]\n[tool.hb.config.arm]\narch = "arm64"\n',
    "BUILD.py": 'setting(name="arch", values=["amd64", "arm64"], default="amd64")\n',
    "a/BUILD.py": 'from rules.basic import filegroup, tree\nfilegroup(name="a", srcs=["a.txt", "//b"])\n'
    'tree(name="t", files={"/f": select({"arch=arm64": "arm", "default": "x86"})})\n',
    "a/a.txt": "",
    "b/BUILD.py": "from rules.basic import filegroup\npackage(default_visibility=['//visibility:public'])\n"
    'filegroup(name="b", srcs=["b.txt"])\n',
    "b/b.txt": "",
}


@dataclass
class Hb:
    root: Path
    store: Path
    path: str

    def __call__(self, *words: str, at: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-s", "-m", "hermetic.cli.main", "query", *words],
            cwd=self.root / at,
            env={"PYTHONPATH": str(ROOT), "HB_STORE": str(self.store), "PATH": self.path},
            capture_output=True,
            text=True,
            check=False,
        )

    def lines(self, *words: str, at: str = "") -> list[str]:
        done = self(*words, at=at)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def hb(tmp_path_factory: pytest.TempPathFactory) -> Hb:
    root = tmp_path_factory.mktemp("workspace")
    for path, text in TREE.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    return Hb(root, tmp_path_factory.mktemp("store"), os.environ["PATH"])


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        (["deps(//a)"], "deps(//a)"),
        (["deps", "//a"], "deps(//a)"),
        (["deps", "//a", "2"], "deps(//a, 2)"),
        (["rdeps", "//...", "//a"], "rdeps(//..., //a)"),
        (["deps", "//a + //b"], "deps(//a + //b)"),
        (["deps", "(//a)"], "deps (//a)"),
        (["//a", "+", "//b"], "//a + //b"),
        (["deps(//a)", "-", "//a"], "deps(//a) - //a"),
        (["kind", "image rule", "//..."], "kind('image rule', //...)"),
        (["attr", "name", "it's", "//a"], "attr('name', \"it's\", //a)"),
        (["filter", "'x y'", "//a + //b"], "filter('x y', //a + //b)"),
        (["rbuildfiles", "a b.py", "c.py"], "rbuildfiles('a b.py', 'c.py')"),
        (["deps"], "deps"),
        (["//a"], "//a"),
    ],
)
def test_words_of_the_command_line(words: Sequence[str], expression: str) -> None:
    assert expression_of(words) == expression


def test_function_and_pattern_as_words(hb: Hb) -> None:
    wanted = ["//a:a", "//a:a.txt", "//b:b", "//b:b.txt"]
    assert hb.lines("deps", "//a") == hb.lines("deps(//a)") == wanted
    assert hb.lines("deps", "a", "1", at="a") == ["//a:a", "//a:a.txt", "//b:b"]
    assert hb.lines(":all", at="a") == ["//a:a", "//a:t"]


def test_operators_as_words(hb: Hb) -> None:
    assert hb.lines("deps(//a)", "-", "//b:all") == ["//a:a", "//a:a.txt", "//b:b.txt"]
    assert hb.lines("//a:all", "-//a:t") == ["//a:a"]


@pytest.mark.parametrize(
    ("words", "code", "phrase"),
    [
        (["dep(//a)"], 7, "did you mean 'deps'?"),
        (["deps(//a"], 7, "column 5 of the query: this '(' is not closed"),
        (["//nope"], 7, "there is no package //nope"),
        ([""], 7, "the query is empty"),
        ([], 2, "the following arguments are required"),
        (["//a", "--output", "xml"], 2, "--output cannot be 'xml'"),
        (["//a", "--outptu", "label"], 2, "did you mean '--output'?"),
        (["//a", "--order_output", "up"], 2, "cannot be 'up'"),
        (["//a", "--output", "text"], 2, "add --actions"),
        (["//a", "--output", "build", "--actions"], 2, "shows targets, not actions"),
        (["//a", "--config", "ram"], 2, "did you mean 'arm'?"),
        (["//a + //nope", "--keep-going"], 3, "there is no package //nope"),
        (["mnemonic(x, //a)"], 7, "add --actions"),
        (["//a", "--configured", "--set", "arch=riscv"], 7, "setting 'arch' has no value 'riscv'"),
    ],
)
def test_exit_codes(hb: Hb, words: list[str], code: int, phrase: str) -> None:
    done = hb(*words)
    assert done.returncode == code
    assert phrase in done.stderr
    assert done.stdout == ("//a:a\n" if code == 3 else "")


def test_a_build_file_that_never_ends_is_ended(hb: Hb, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.hb]\nload_deadline = 2\n")
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "BUILD.py").write_text("[0 for x in range(100000000000)]\n")
    done = Hb(tmp_path, hb.store, hb.path)("//loop:all")
    assert done.returncode == 7
    assert "loading the BUILD files took longer than" in done.stderr and "load_deadline" in done.stderr


def test_configured_and_actions(hb: Hb) -> None:
    assert hb.lines("//a:t", "--configured") == ["//a:t [arch=amd64]"]
    assert hb.lines("//a:t", "--configured", "--config", "arm") == ["//a:t [arch=arm64]"]
    (about,) = json.loads(hb("//a:t", "--configured", "--config=arm", "--output=json").stdout)
    assert about["settings"] == {"arch": "arm64"}
    assert about["attributes"]["files"] == {"/f": "arm"}
    (action,) = json.loads(hb("mnemonic(write, deps(//a:t))", "--actions", "--output=json").stdout)
    assert action["parameters"] == {"files": {"/f": {"text": "x86"}}}
    assert len(action["key"]) == 64
    text = hb("//a:t", "--actions").stdout
    assert f"  key: {action['key']}\n" in text and "  location: a/BUILD.py:3\n" in text


def test_inputs_have_digests_as_far_as_they_are_known(hb: Hb) -> None:
    (action,) = json.loads(hb("//a", "--actions", "--output", "json").stdout)
    sources = [one["from"] for one in action["inputs"]]
    assert sources == ["1 files of a", "1 files of b"]
    assert all(len(one["digest"].partition("/")[0]) == 64 for one in action["inputs"])


def test_a_pipe_that_closes_early_is_no_failure_to_talk_about(hb: Hb) -> None:
    done = subprocess.run(
        f"{sys.executable} -s -m hermetic.cli.main query 'deps(//a)' | true",
        shell=True,
        cwd=hb.root,
        env={"PYTHONPATH": str(ROOT), "HB_STORE": str(hb.store), "PATH": hb.path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_svg_without_graphviz_says_what_to_do(hb: Hb, tmp_path: Path) -> None:
    hb = Hb(hb.root, hb.store, str(tmp_path))
    assert hb.lines("//a") == ["//a:a"]  # kept from before, or the box would need a PATH
    done = hb("//a", "--output", "svg")
    assert done.returncode == 1
    assert "dot, which is not installed" in done.stderr and "--output mermaid" in done.stderr


def test_svg_is_what_dot_draws(hb: Hb, tmp_path: Path) -> None:
    """A dot of our own, that checks its input as Graphviz would and answers with a picture."""
    dot = tmp_path / "dot"
    dot.write_text('#!/bin/sh\n[ "$1" = -Tsvg ] || exit 2\nread line\necho "<svg><title>$line</title></svg>"\n')
    dot.chmod(0o755)
    out = Hb(hb.root, hb.store, f"{tmp_path}:{hb.path}").lines("deps(//a)", "--output", "svg")
    assert ElementTree.fromstring("\n".join(out)).findtext("title") == "digraph hb {"
    dot.write_text("#!/bin/sh\necho 'syntax error in line 1' >&2\nexit 1\n")
    done = Hb(hb.root, hb.store, f"{tmp_path}:{hb.path}")("//a", "--output", "svg")
    assert done.returncode == 1 and "dot failed: syntax error in line 1" in done.stderr


def test_a_warm_query_imports_no_rule_no_pydantic_and_starts_no_process(hb: Hb) -> None:
    hb.lines("deps(//a)")
    script = (
        "import sys, subprocess; from hermetic.cli.main import main; subprocess.Popen = None\n"
        "code = main(['query', 'deps(//a)']); print(*sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-s", "-c", script],
        cwd=hb.root,
        env={"PYTHONPATH": str(ROOT), "HB_STORE": str(hb.store), "PATH": hb.path},
        capture_output=True,
        text=True,
        check=True,
    )
    *labels, modules = done.stdout.splitlines()
    assert labels == ["//a:a", "//a:a.txt", "//b:b", "//b:b.txt"]
    heavy = (
        "rules",
        "pydantic",
        "google",
        "hermetic.proto",
        "hermetic.execution",
        "hermetic.sandbox",
        "hermetic.loading.loader",
    )
    assert not [one for one in modules.split() if one.startswith(heavy)]


def test_a_read_only_workspace(hb: Hb, tmp_path: Path) -> None:
    """Nothing is written into it; the graph is kept beside the store. Root may write anywhere, so the
    system call that asks is answered for it."""
    for path, text in TREE.items():
        (tmp_path / "ws" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ws" / path).write_text(text)
    script = (
        "import os, sys; real = os.access\n"
        "os.access = lambda path, mode, **more: real(path, mode, **more) and mode != os.W_OK\n"
        "from hermetic.cli.main import main; sys.exit(main(['query', 'deps(//a)']))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-s", "-c", script],
            cwd=tmp_path / "ws",
            env={"PYTHONPATH": str(ROOT), "HB_STORE": str(tmp_path / "store"), "PATH": hb.path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == ["//a:a", "//a:a.txt", "//b:b", "//b:b.txt"]
    assert not (tmp_path / "ws" / ".hb").exists()
    assert list((tmp_path / "store" / "workspaces").glob("*/query/*"))


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["query", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "hb query 'deps(" in out and "--noimplicit_deps" in out and "maxrank" in out
