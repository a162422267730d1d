"""The rule in docs/guide/writing-a-rule.md, as it stands there, in a workspace that has its own rules/."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hermetic.analysis.lines import graph_in
from hermetic.execution.frontend import answer_in, lines_in

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "guide" / "writing-a-rule.md").read_text(encoding="utf-8")
FILES = {match[1]: match[2] for match in re.finditer(r"```python\n# (\S+)\n(.*?)```", GUIDE, re.DOTALL)}


def ask(workspace: Path, **request: Any) -> dict[str, Any]:
    """The loader child as hb starts it, without the box: the workspace's rules come before the installed ones."""
    full = {
        "workspace": str(workspace), "settings": {}, "exec_platform": "linux-amd64", "memory": 4 << 30,
        "cpu_seconds": 60, "patterns": [], "what": "graph", **request,
    }  # fmt: skip
    path = os.pathsep.join([str(workspace), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-s", "-B", "-m", "hermetic.analysis.child"],
        input=json.dumps(full).encode(), capture_output=True, check=True, cwd="/", env={"PYTHONPATH": path},
    )  # fmt: skip
    return {**answer_in(done.stdout), "stderr": done.stderr.decode()}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The guide's files; rules/ holds the installed ones and the new one, as a copied workspace would."""
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    for name in ("__init__.py", "basic.py", "launchers.py", "providers.py"):
        (tmp_path / "rules" / name).write_text((ROOT / "rules" / name).read_text())
    (tmp_path / "notes" / "a.txt").write_text("a")
    (tmp_path / "BUILD.py").write_text('setting(name="quick", default=False)\n')
    return tmp_path


def test_the_rule_is_under_thirty_lines() -> None:
    assert len(FILES["rules/shrink.py"].splitlines()) < 30


@pytest.mark.parametrize("quick", ["true", "false"])
def test_the_rule_of_the_guide(workspace: Path, quick: str) -> None:
    answer = ask(workspace, patterns=["//notes"], settings={"quick": quick})
    assert answer["errors"] == []
    graph = graph_in(lines_in(answer))
    (target,) = (graph.targets[one] for one in graph.requested)
    assert (target.id, target.rule) == (f"//notes:notes [quick={quick}]", "shrink")
    (action,) = (graph.actions[one] for one in target.actions)
    assert ("--fast" if quick == "true" else "--best") in action.argv[-1]
    assert [one.path for one in action.inputs] == ["/", "/build/a.txt"]
    assert action.outputs[0].path == "/out"


def test_a_wrong_attribute_is_told_in_words(workspace: Path) -> None:
    build = workspace / "notes" / "BUILD.py"
    build.write_text(build.read_text().replace('"fast"', '"fats"'))
    (error,) = ask(workspace, patterns=["//notes"], settings={"quick": "true"})["errors"]
    assert (error["kind"], error["path"], error["line"]) == ("AttributeError_", "notes/BUILD.py", 5)
    assert error["message"] == "attribute 'level' of shrink should be 'fast' or 'best', not 'fats'"
    assert error["hint"] == "did you mean 'fast'?"


def test_what_rules_print_is_not_the_answer(workspace: Path) -> None:
    rule = workspace / "rules" / "shrink.py"
    rule.write_text(rule.read_text() + 'print("{}")\nimport os\nos.write(1, b"raw")\n')
    answer = ask(workspace, patterns=["//notes"])
    assert answer["errors"] == []
    assert "{}" in answer["stderr"] and "raw" in answer["stderr"]


def test_a_broken_rule_file_is_an_error_at_the_import(workspace: Path) -> None:
    (workspace / "rules" / "shrink.py").write_text("def (\n")
    (error,) = ask(workspace, patterns=["//notes"])["errors"]
    assert (error["kind"], error["path"], error["line"]) == ("BuildFileError", "notes/BUILD.py", 2)
    assert "SyntaxError" in error["message"]


def test_settings_with_their_values(workspace: Path) -> None:
    answer = ask(workspace, what="settings", settings={"quick": "yes"})
    assert answer["settings"] == [{"name": "quick", "value": "true", "values": [], "doc": ""}]


def test_files_that_were_read_are_told(workspace: Path) -> None:
    answer = ask(workspace, patterns=["//notes"])
    own = {path for path in answer["read_files"] if not path.startswith("/")}  # others: hb's own code
    assert {"BUILD.py", "notes/BUILD.py", "rules/shrink.py"} <= own
    assert any(path.endswith("/hermetic/loading/loader.py") for path in answer["read_files"])
    assert answer["read_folders"] == {}
