"""Fixture projects: a folder of BUILD files and a request in, a golden action graph out.

``HB_UPDATE_GOLDEN=1`` writes the goldens; a golden that no project wants is an error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hermetic.analysis.front import analyse
from hermetic.loading.loader import Loader

HERE = Path(__file__).parent
PROJECTS = sorted(path.parent.name for path in HERE.glob("*/request.json"))


@pytest.fixture(scope="module", autouse=True)
def demo() -> None:
    if "rules.demo" not in sys.modules:
        spec = importlib.util.spec_from_file_location("rules.demo", HERE / "demo.py")
        assert spec is not None and spec.loader is not None
        sys.modules["rules.demo"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


def analysed(project: str, **changes: str) -> dict[str, Any]:
    request = json.loads((HERE / project / "request.json").read_text(encoding="utf-8"))
    settings = {**request.get("settings", {}), **changes}
    loader = Loader(HERE / project)
    keep_going = request.get("keep_going", False)
    answer = analyse(loader, request["patterns"], settings, "linux-amd64", keep_going=keep_going)
    assert answer.graph.requested == answer.lines.requested
    return {
        "graph": {
            "actions": [json.loads(line) for line in answer.lines.actions],
            "targets": [json.loads(line) for line in answer.lines.targets],
            "requested": answer.lines.requested,
        },
        "errors": [error.to_dict() for error in answer.errors],
        "locks": dict(answer.locks),
        "read_files": dict(loader.read_files),
    }


@pytest.mark.parametrize("project", PROJECTS)
def test_project(project: str) -> None:
    text = json.dumps(analysed(project), indent=1, ensure_ascii=False) + "\n"
    golden = HERE / project / "golden.json"
    if os.environ.get("HB_UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert golden.exists(), "HB_UPDATE_GOLDEN=1 writes it"
    assert golden.read_text(encoding="utf-8") == text, "if on purpose, HB_UPDATE_GOLDEN=1 and say why"


def test_no_other_goldens() -> None:
    assert sorted(path.parent.name for path in HERE.glob("**/golden*")) == PROJECTS


def test_an_irrelevant_setting_changes_nothing() -> None:
    assert analysed("trimming", arch="amd64") == analysed("trimming", arch="arm64")


def test_one_target_in_three_configurations_is_two() -> None:
    ids = [one["id"] for one in analysed("configured")["graph"]["targets"] if one["label"] == "//:lib"]
    assert sorted(ids) == ["//:lib [arch=amd64]", "//:lib [arch=arm64]"]


def test_the_cross_build_keeps_platforms_apart() -> None:
    graph = analysed("toolchain")["graph"]
    argv = {one["label"]: one["argv"] for one in graph["actions"]}
    assert argv["//:program"] == ["aarch64-gcc amd64", "-Ofast", "-l1", "-Darch=arm64", "-march=arm64"]
    assert argv["//:generator"] == ["cc", "-Ofast", "-l1", "-Darch=amd64", "-march=amd64"]
