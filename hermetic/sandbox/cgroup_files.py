"""The kernel's files of control groups: where they are, whether they may be used, and how they go away.

Guarantees: looking leaves nothing behind; what cannot be read is empty, what cannot be written says so.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from hermetic.sandbox.memory import PROC

PREFIX = "hb-"
PATIENCE = 1.0  # seconds that a group's last processes may take to vanish


def hierarchies(proc: Path) -> tuple[Path | None, dict[str, Path]]:
    """This process's group in version 2, and in each controller of version 1."""
    points: dict[str, tuple[Path, str]] = {}
    for line in read(proc / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        if kind[:1] == ["cgroup2"]:
            points[""] = Path(words[4]), words[3]
        elif kind[:1] == ["cgroup"]:
            points.update({name: (Path(words[4]), words[3]) for name in kind[2].split(",")})
    found: dict[str, Path] = {}
    for line in read(proc / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in points:
                mount, root = points[name]
                inside = path.removeprefix(root) if root != "/" else path
                place = mount / inside.lstrip("/")
                found[name] = place if place.is_dir() else mount
    return found.pop("", None), found


def usable(folder: Path) -> bool:
    """Whether a group can be made here and a process put into it."""
    probe = folder / f"{PREFIX}probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError:
        return False
    try:
        return os.access(probe / "cgroup.procs", os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)
    finally:
        remove(probe)


def enable(folder: Path) -> bool:
    """Let groups below have the memory controller; the kernel refuses when processes live beside them."""
    if "memory" in read(folder / "cgroup.subtree_control").split():
        return True
    return write(folder / "cgroup.subtree_control", "+memory")


def sweep(folder: Path) -> None:
    """Empty groups of processes that are no more."""
    for left in folder.glob(f"{PREFIX}*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not (PROC / owner).exists():
            with suppress(OSError):
                left.rmdir()


def kills_in(folder: Path) -> int | None:
    """How many processes of a group the kernel killed for memory; None when it does not say."""
    for name in ("memory.events", "memory.oom_control"):
        for line in read(folder / name).splitlines():
            word, _, count = line.partition(" ")
            if word == "oom_kill" and count.isdecimal():
                return int(count)
    return None


def remove(folder: Path) -> None:
    """A group goes when its last process has: a moment after its parent learns of the end."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > until:
                return
            time.sleep(0.001)


def write(path: Path, text: str) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(handle, text.encode())
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
