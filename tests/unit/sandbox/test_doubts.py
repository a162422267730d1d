"""A success that the machine casts doubt on is not stored; what a command may open does not depend on the machine."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hermetic.sandbox.doubts import FILES, STEP, Before, Linux
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.sandbox.spec import Ending, SandboxSpec


@dataclass
class FakeMachine:
    kills: int = 0
    wall: float = 1_800_000_000.0
    boot: float = 5000.0
    files: tuple[int, int] = (900, 100_000)
    space: bool = True

    def oom_kills(self) -> int:
        return self.kills

    def clocks(self) -> tuple[float, float]:
        return self.wall, self.boot

    def open_files(self) -> tuple[int, int]:
        return self.files

    def has_space(self, folder: Path) -> bool:
        return self.space


@pytest.mark.parametrize(
    ("wall", "boot", "word"),
    [
        (10.0, 10.0, ""),  # time passes
        (86400.0, 86400.0, ""),  # asleep for a day
        (10.0 + STEP / 2, 10.0, ""),  # the clocks are not read at one moment
        (10.0 + 2 * STEP, 10.0, "clock was set by +0.02 s"),
        (10.0 - 3600.0, 10.0, "clock was set by -3600.00 s"),
        (11.0, 10.0, "clock was set by +1.00 s"),  # a leap second
    ],
)
def test_a_clock_that_is_set(tmp_path: Path, wall: float, boot: float, word: str) -> None:
    machine = FakeMachine()
    before = Before.now(machine)
    machine.wall += wall
    machine.boot += boot
    assert word in before.doubt(tmp_path, oom=False)
    assert bool(word) == bool(before.doubt(tmp_path, oom=False))


def test_other_doubts(tmp_path: Path) -> None:
    before = Before.now(FakeMachine())
    assert before.doubt(tmp_path, oom=False) == ""
    assert "memory" in before.doubt(tmp_path, oom=True)
    for machine, word in (
        (FakeMachine(space=False), "disk was full"),
        (FakeMachine(files=(99_000, 100_000)), "open files"),
    ):
        assert word in replace(before, machine=machine).doubt(tmp_path, oom=False)
    assert replace(before, machine=FakeMachine(kills=1)).killed()


def test_the_real_machine_is_above_doubt(tmp_path: Path) -> None:
    """The two clocks are read so close together that the difference between them stays below a step."""
    before = Before.now(Linux())
    for _ in range(200):
        assert before.doubt(tmp_path, oom=False) == ""
    there, limit = Linux().open_files()
    assert 0 < there < limit


@pytest.mark.sandbox
def test_a_sandbox_tells_what_the_machine_did(tmp_path: Path, rootfs: Path) -> None:
    class Stepping(FakeMachine):
        def clocks(self) -> tuple[float, float]:
            self.wall += 30.0
            return self.wall, self.boot

    spec = SandboxSpec(argv=("/bin/bash", "-c", "true"), roots=(rootfs,))
    found = NamespaceSandbox(machine=Stepping()).run(spec, tmp_path, threading.Event())
    assert (found.ending, found.exit_code) == (Ending.EXITED, 0)
    assert found.tainted == "the clock was set by +30.00 s while it ran"


@pytest.mark.sandbox
@pytest.mark.parametrize("mine", [FILES, FILES + 1000])
def test_a_command_may_open_the_same_number_of_files_everywhere(run, mine: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < mine:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (mine, hard))
    try:
        assert run("ulimit -Sn; ulimit -Hn").stdout.read_text().split() == [str(FILES)] * 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    reached = run("""python3 -c '
import os
count = 3
try:
    while True:
        count = os.open("/", 0) + 1
except OSError as error:
    print(error.errno, count)'""")
    assert reached.stdout.read_text().split() == ["24", str(FILES)]


LOOK = """
import resource
from hermetic.errors import SandboxUnavailable
from hermetic.sandbox.doubts import require_files

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
try:
    require_files()
except SandboxUnavailable as error:
    print(error.hint)
"""


def test_a_machine_that_allows_fewer_is_told_how_to_allow_more() -> None:
    """In a process of its own: a hard limit cannot be raised again."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert "ulimit -Hn 4096" in done.stdout
