"""The prelude stub says what is really there, and mypy understands BUILD.py files through it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import hermetic.loading
from hermetic.loading.loader import prelude

ROOT = Path(__file__).parents[3]


def test_the_stub_names_what_build_files_have(tmp_path: Path) -> None:
    stub = Path(hermetic.loading.__file__).parent / "prelude.pyi"
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert named == set(prelude(tmp_path, {}))


def test_mypy_accepts_good_build_files_and_refuses_bad_ones(tmp_path: Path) -> None:
    good = "from rules.basic import tree\ntree(name='a', files=select({'default': {}}))\nx: list[str] = glob(['*'])\n"
    bad = "from rules.basic import tree\ntree(name=3)\nglob('x')\n"
    for source, ok in ((good, True), (bad, False)):
        path = tmp_path / "build_file.py"
        path.write_text(f"from hermetic.loading.prelude import *\n{source}")
        argv = [sys.executable, "-m", "mypy", "--config-file", "/dev/null", "--follow-imports=silent"]
        argv += ["--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache"), str(path)]
        done = subprocess.run(argv, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
