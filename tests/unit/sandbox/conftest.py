"""A sandbox for the tests of this folder."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.sandbox.spec import SandboxResult, SandboxSpec

Run = Callable[..., SandboxResult]


@pytest.fixture
def run(tmp_path: Path, rootfs: Path) -> Run:
    """Runs a shell script in a new sandbox; options are those of SandboxSpec, and ``cancel``."""
    count = itertools.count()

    def execute(script: str, **options: Any) -> SandboxResult:
        work = tmp_path / f"work{next(count)}"
        work.mkdir()
        cancel = options.pop("cancel", threading.Event())
        given = {"argv": ("/bin/bash", "-c", script), "roots": (rootfs,), "timeout": 60.0, **options}
        return NamespaceSandbox().run(SandboxSpec(**given), work, cancel)

    return execute
