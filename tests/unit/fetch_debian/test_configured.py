"""Real root filesystems of the real archive, from the lock to the tree, by hb as people run it.

What takes time here is the archive: files that the machine's own store has already are linked from there, and the
second store gets the first one's, so that each is fetched at most once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]

HEAD = """
from rules.debian import debian_packages, debian_rootfs

setting(name="arch", values=["amd64", "arm64"], default="amd64")
platform(name="linux-amd64", os="linux", arch="amd64", settings={"arch": "amd64"})
platform(name="linux-arm64", os="linux", arch="arm64", settings={"arch": "arm64"})
"""

NATIVE = """
debian_packages(
    name="packages",
    arches=["amd64"],
    lock="packages.lock",
    packages=["base-files", "bash", "coreutils", "libstdc++6"],
)
debian_rootfs(name="rootfs", packages=[":packages"], exclude=["usr/share/doc/**", "usr/share/man/**"])
"""

PYTHON = ("libpython", "libreadline", "libsqlite", "media-types", "python", "tzdata")  # large, and not essential

FOREIGN = """
debian_packages(
    name="packages",
    arches=["arm64"],
    closed=False,
    essential=False,
    lock="packages.lock",
    packages=["base-files", "dpkg", "libc-bin"],
)
debian_rootfs(name="rootfs", packages=[":packages"])
"""


def hb(workspace: Path, *words: str) -> str:
    done = subprocess.run([str(ROOT / "hb"), *words], cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    made.mkdir()
    (made / "pyproject.toml").write_text("[tool.hb]\n")
    return made


def lend(lock: Path, store: Path) -> None:
    """Link what a lock pins from the machine's own store, as far as it is there."""
    line = next(line for line in hb(ROOT, "info").splitlines() if line.startswith("store"))
    for name in (word for line in lock.read_text().splitlines() for word in line.split() if len(word) == 64):
        found, place = (folder / "cas" / name[:2] / name for folder in (Path(line.split()[1]), store))
        if found.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(found, place)
            except OSError:  # another file system
                shutil.copyfile(found, place)


def built(workspace: Path, store: Path, *words: str) -> tuple[str, Path]:
    lines = hb(workspace, "build", "--json", "--store", str(store), "//:rootfs", *words).splitlines()
    target = json.loads(lines[0])
    return target["digest"], (workspace / target["path"]).resolve()


def test_a_configured_root_is_a_function_of_its_lock(workspace: Path, tmp_path: Path) -> None:
    (workspace / "BUILD.py").write_text(HEAD + NATIVE)
    lines = (ROOT / "tests/ci/locks/packages.lock").read_text().splitlines()
    small = [line for line in lines if not line.startswith(PYTHON)]
    (workspace / "packages.lock").write_text("".join(f"{line}\n" for line in small))
    stores = [tmp_path / "one", tmp_path / "two"]
    lend(workspace / "packages.lock", stores[0])
    hb(workspace, "fetch", "--store", str(stores[0]), "//:rootfs")
    lend_all = ["cp", "-al", str(stores[0] / "cas"), str(stores[1])]
    stores[1].mkdir()
    subprocess.run(lend_all, check=True)
    with ThreadPoolExecutor(2) as pool:
        (first, root), (again, _) = pool.map(lambda store: built(workspace, store), stores)
    assert again == first, "two builds of one lock, in two stores, differ"

    status = (root / "var/lib/dpkg/status").read_text()
    states = {line for line in status.splitlines() if line.startswith("Status:")}
    assert states == {"Status: install ok installed"}
    assert "root:*:0:0:root:/root:/bin/bash" in (root / "etc/passwd").read_text()
    assert (root / "usr/bin/awk").is_symlink(), "alternatives were set"
    assert b"libstdc++.so.6" in (root / "etc/ld.so.cache").read_bytes(), "triggers were run"
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


def test_for_another_architecture_nothing_is_run(workspace: Path, tmp_path: Path) -> None:
    (workspace / "BUILD.py").write_text(HEAD + FOREIGN)
    hb(workspace, "lock")
    _, root = built(workspace, tmp_path / "store", "--set", "arch=arm64")
    assert "Status: install ok installed" in (root / "var/lib/dpkg/status").read_text()
    assert (root / "usr/bin/dpkg").read_bytes()[18] == 183, "the programs are arm64's"
    assert not (root / "etc/ld.so.cache").exists()
