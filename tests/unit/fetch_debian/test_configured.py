"""A real root filesystem, from the lock to the configured tree, by hb as people run it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

BUILD = """
from rules.debian import debian_packages, debian_rootfs

setting(name="arch", values=["amd64", "arm64"], default="amd64")
platform(name="linux-amd64", os="linux", arch="amd64", settings={"arch": "amd64"})
platform(name="linux-arm64", os="linux", arch="arm64", settings={"arch": "arm64"})

debian_packages(name="packages", lock="packages.lock", packages=["passwd", "ca-certificates"])
debian_rootfs(name="rootfs", packages=[":packages"], exclude=["usr/share/doc/**", "usr/share/man/**"])
"""


def hb(workspace: Path, *words: str) -> str:
    done = subprocess.run([str(ROOT / "hb"), *words], cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def built(workspace: Path, store: Path, *words: str) -> tuple[str, Path]:
    lines = hb(workspace, "build", "--json", "--store", str(store), "//:rootfs", *words).splitlines()
    target = json.loads(lines[0])
    return target["digest"], (workspace / target["path"]).resolve()


@pytest.mark.network
@pytest.mark.sandbox
@pytest.mark.slow
def test_a_configured_root_is_a_function_of_its_lock(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "pyproject.toml").write_text("[tool.hb]\n")
    (workspace / "BUILD.py").write_text(BUILD)
    hb(workspace, "lock")
    first, root = built(workspace, tmp_path / "one")
    again, _ = built(workspace, tmp_path / "two")
    assert again == first, "two builds of one lock, in two stores, differ"

    status = (root / "var/lib/dpkg/status").read_text()
    states = {line for line in status.splitlines() if line.startswith("Status:")}
    assert states == {"Status: install ok installed"}
    assert "root:x:0:0:root:/root:/bin/bash" in (root / "etc/passwd").read_text()
    assert len((root / "etc/ssl/certs/ca-certificates.crt").read_text()) > 100_000
    assert (root / "etc/ld.so.cache").stat().st_size > 1000
    left = [
        path
        for name in (
            "etc/machine-id",
            "etc/passwd-",
            "var/lib/dpkg/status-old",
            "usr/sbin/policy-rc.d",
            "var/cache/ldconfig/aux-cache",
        )
        if (path := root / name).exists()
    ]
    assert not left
    assert not [path for path in (root / "var/log").rglob("*") if path.is_file()]
    assert not list((root / "usr/share/man").rglob("*.gz"))
    assert list((root / "usr/share/doc").glob("*/copyright")), "licences stay"

    foreign, arm = built(workspace, tmp_path / "one", "--set", "arch=arm64")
    assert foreign != first
    assert "Status: install ok installed" in (arm / "var/lib/dpkg/status").read_text()
    assert (arm / "usr/bin/true").read_bytes()[18] == 183, "the programs are arm64's"
    assert not (arm / "etc/ld.so.cache").exists(), "nothing was run"
