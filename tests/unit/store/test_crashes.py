"""Writers killed in the middle: what they acknowledged survives, what they did not is absent or whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hermetic

WRITER = Path(__file__).with_name("crash_writer.py")


def crash(*words: object) -> dict:
    env = {**os.environ, "PYTHONPATH": str(Path(hermetic.__file__).parents[1])}
    argv = [sys.executable, str(WRITER), *map(str, words)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_point(tmp_path: Path, step: int) -> None:
    found = crash("points", tmp_path, step)
    assert found["problems"] == []
    assert found["kills"] >= 190 // step


def test_killed_at_random_moments_while_others_write(tmp_path: Path) -> None:
    assert crash("races", tmp_path, 20261121, 60)["problems"] == []
