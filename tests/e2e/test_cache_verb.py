"""hb cache: stats, verify and gc of the local store, as people call them."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from hermetic.store.compile.objects import Objects

pytestmark = pytest.mark.sandbox

TARGETS = """
command(name="a", rootfs=":rootfs", cmd="mkdir -p out && head -c 300000 /dev/zero > out/a")
command(name="b", rootfs=":rootfs", deps=[":a"], cmd="mkdir -p out && cat a/a a/a > out/b")
"""


def age(store: Path, days: float) -> None:
    then = time.time() - days * 86400
    for path in (*(store / "ac").glob("*/*"), *(store / "builds").rglob("*")):
        if path.is_file():
            os.utime(path, (then, then))
    for path in (store / "builds").glob("*.build"):
        path.unlink()


def test_unused_results_go_and_come_back_as_evicted(workspace) -> None:
    workspace.build_file(TARGETS)
    assert workspace.hb("build", "//:b").code == 0
    kept = workspace.hb("cache", "gc", "--keep-days", "14")
    assert "removed 0 results" in kept.err
    age(workspace.store, 30)
    planned = workspace.hb("cache", "gc", "--keep-days", "14", "--dry-run")
    assert "would remove" in planned.err and " 0 results" not in planned.err
    swept = workspace.hb("cache", "gc", "--keep-days", "14")
    assert swept.code == 0 and " 0 results" not in swept.err
    assert (workspace.root / "hb-out/b/b").read_bytes() == bytes(600_000), "what hb-out shows stays"
    workspace.write("c.txt", "new\n")
    workspace.build_file(TARGETS + "# so that the last build is no help\n")
    again = workspace.hb("build", "//:b", "--json")
    assert again.code == 0
    assert again.summary["outcomes"].get("evicted", 0) >= 2, again.err
    assert workspace.hb("cache", "verify").code == 0


def test_a_quota_is_kept_without_being_asked(workspace) -> None:
    workspace.write("pyproject.toml", '[tool.hb]\n[tool.hb.cache]\nmax_size = "100K"\n')
    workspace.build_file(TARGETS)
    built = workspace.hb("build", "//:b", "--json")
    assert "over its limits" in built.err
    assert (workspace.root / "hb-out/b/b").exists()


def test_rot_is_found_named_and_mended(workspace) -> None:
    workspace.build_file(TARGETS)
    assert workspace.hb("build", "//:b").code == 0
    blob = next(path for path in (workspace.store / "cas").glob("*/*") if path.stat().st_size == 300_000)
    blob.chmod(0o644)
    blob.write_bytes(b"\x01" + bytes(299_999))
    found = workspace.hb("cache", "verify")
    assert found.code == 1
    assert f"rotten\t{blob}" in found.out
    assert workspace.hb("cache", "verify", "--repair").code == 0
    assert workspace.hb("cache", "verify").code == 0
    workspace.build_file(TARGETS + "# changed\n")
    assert workspace.hb("build", "//:a").code == 0
    assert (workspace.root / "hb-out/a/a").read_bytes() == bytes(300_000)


def test_stats_and_wrong_limits(workspace) -> None:
    workspace.build_file(TARGETS)
    workspace.hb("build", "//:b")
    shown = workspace.hb("cache", "stats")
    assert shown.code == 0
    assert "blobs" in shown.out and "local hits" in shown.out
    for words in (("gc",), ("gc", "--max-size", "lots"), ("gc", "--keep-days", "-1"), ("tidy",)):
        assert workspace.hb("cache", *words).code == 2


def test_compiled_objects_go_with_age_and_are_told_of(workspace) -> None:
    """They have a size limit of their own; --max-size is about results."""
    assert "compile cache" not in workspace.hb("cache", "gc", "--max-size", "1").err
    objects = Objects(workspace.store / "compile" / "tier")
    for number, days in enumerate((1, 30)):
        objects.put(hashlib.sha256(bytes([number])).hexdigest(), bytes(1000))
        place = next(objects.folder.rglob(hashlib.sha256(bytes([number])).hexdigest()))
        then = time.time() - days * 86400
        os.utime(place, (then, then))
    assert "removed 0 of 2 objects" in workspace.hb("cache", "gc", "--max-size", "1").err
    assert "would remove 1 of 2 objects" in workspace.hb("cache", "gc", "--keep-days", "14", "--dry-run").err
    swept = workspace.hb("cache", "gc", "--keep-days", "14")
    assert "removed 1 of 2 objects" in swept.err and "max_size in [tool.hb.compile-cache]" in swept.err
    assert "of 1 objects" in workspace.hb("cache", "gc", "--keep-days", "14").err
