"""Fixtures shared by all tests: stores, and a small root filesystem made from this machine's."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hermetic.store.disk import DiskStore
from hermetic.store.memory import MemoryStore
from hermetic.store.stage import DiskStage

pytest_plugins = ["cache_servers"]

PROGRAMS = ("bash", "cat", "chmod", "cp", "date", "env", "find", "head", "hostname", "id", "ln", "ls", "mkdir", "mkfifo",
            "mv", "nproc", "printf", "python3", "readlink", "rm", "sed", "sh", "sleep", "stat",
            "sync", "tail", "touch", "true", "uname", "yes")  # fmt: skip


def pytest_configure() -> None:
    """Started in the background, we would inherit an ignored SIGINT, and so would what we interrupt. Where
    the tests run is none of what they test."""
    otel = [name for name in os.environ if name.startswith("OTEL_")]
    for name in ("CI", "NO_COLOR", "TRACEPARENT", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", *otel):
        os.environ.pop(name, None)
    # A busy machine is no reason to fail.
    settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("calm")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """pytest's folder, removed by rm: some tests nest deeper than Python's own removal can go."""
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path)], check=False)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "store")


@pytest.fixture
def stage(store: DiskStore) -> DiskStage:
    return DiskStage(store)


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root filesystem with a shell, the core utilities and what they link to."""
    top = tmp_path_factory.mktemp("rootfs")
    for name in PROGRAMS:
        found = "/usr/bin/python3" if name == "python3" else shutil.which(name, path="/usr/bin:/bin")
        if found and Path(found).exists():
            copy_program(Path(found), top)
    for folder in ("etc", "tmp", "usr/lib"):
        (top / folder).mkdir(parents=True, exist_ok=True)
    for link in ("bin", "lib", "lib64", "sbin"):
        (top / "usr" / link).mkdir(exist_ok=True)
        if not (top / link).exists():
            (top / link).symlink_to(f"usr/{link}")
    (top / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1234:77::/home/alice:/bin/sh\n")
    (top / "etc" / "group").write_text("root:x:0:\nstaff:x:50:\n")
    yield top


def copy_program(program: Path, top: Path) -> None:
    """The program at /usr/bin and its shared libraries where the linker looks for them."""
    target = top / "usr" / "bin" / program.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(program.resolve(), target)
    if program.name == "python3":
        version = program.resolve().name
        library = Path("/usr/lib") / version
        if library.is_dir() and not (top / "usr/lib" / version).exists():
            ignore = shutil.ignore_patterns(
                "__pycache__", "test", "tests", "idlelib", "lib2to3", "ensurepip", "config-*"
            )
            shutil.copytree(library, top / "usr/lib" / version, ignore=ignore)
    text = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    for found in re.findall(r"(/\S+)", text):
        library = Path(found)
        place = top / "usr" / str(library.parent).lstrip("/").removeprefix("usr/") / library.name
        if library.exists() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library.resolve(), place)
