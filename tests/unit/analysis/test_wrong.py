"""Targets that are wrong: each says what, at which line, and what to do. The cases are data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hermetic import errors
from hermetic.errors import HbError, from_dict

CASES = json.loads((Path(__file__).parents[2] / "cases" / "analysis" / "wrong.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_wrong_target(case: dict, workspace) -> None:
    for path, text in case.get("files", {}).items():
        workspace.write(path, text)
    workspace.build("p", case["build"])
    for path, data in case.get("bytes", {}).items():
        (workspace.root / path).write_bytes(bytes.fromhex(data))
    with pytest.raises(HbError) as caught:
        workspace.graph("//p:x", exec_platform=case.get("exec", "linux-amd64"))
    error = caught.value
    assert type(error) is getattr(errors, case["error"]), error
    assert case["phrase"] in str(error)
    assert error.exit_code == case.get("exit", 7)
    assert str(error.location) == f"{case.get('at', 'p/BUILD.py')}:{case['line']}"
    assert str(from_dict(error.to_dict())) == str(error)


def test_no_name_twice() -> None:
    names = [case["name"] for case in CASES]
    assert len(set(names)) == len(names)
