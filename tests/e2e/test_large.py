"""Outputs of a size that breaks what was made for small ones."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


def test_a_hundred_thousand_files_in_one_folder(workspace: Any) -> None:
    """Equal ones, too: more than a file system gives one file names (65,000 on ext4)."""
    workspace.build_file(
        'command(name="many", rootfs=":rootfs", timeout=600, cmd="cd out; for i in {1..100}; do touch $i-{1..1000}; done")\n'
        'command(name="count", rootfs=":rootfs", deps=[":many"], timeout=600, cmd="set -- many/*; echo $# > out/count")\n'
    )
    done = workspace.hb("build", "//:count", "//:many", "--json")
    assert done.code == 0, done.err
    assert (workspace.root / "hb-out/count/count").read_text() == "100000\n"
    assert len(os.listdir(workspace.root / "hb-out/many")) == 100_000
    again = workspace.hb("build", "//...", "--json")
    assert (again.code, again.built) == (0, 0), again.err
