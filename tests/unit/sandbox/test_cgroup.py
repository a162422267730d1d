"""What is measured of a real sandbox, and what its group can do to it. Memory is bounded everywhere."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hermetic.sandbox.berth import Berths
from hermetic.sandbox.cgroup import Group, Groups, KernelGroup, TreeGroup
from hermetic.sandbox.memory import family, machine_memory, stalled, tightest, tree_memory
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.sandbox.spec import Ending, SandboxResult, SandboxSpec

pytestmark = pytest.mark.sandbox
MIB = 1 << 20
EATER = "import sys, time; held = bytearray(b'x') * ({size} << 20); print(len(held)); time.sleep({sleep})"


class Joined(threading.Event):
    """A cancellation that is told of the group."""

    group: Group | None = None

    def joined(self, group: Group) -> None:
        self.group = group


def run(
    tmp_path: Path, rootfs: Path, groups: Groups | None, script: str, **more: object
) -> tuple[SandboxResult, Joined]:
    work = tmp_path / f"work{len(list(tmp_path.iterdir()))}"
    work.mkdir()
    cancel = Joined()
    spec = SandboxSpec(argv=("/bin/bash", "-c", script), roots=(rootfs,), **{"timeout": 60.0, **more})  # type: ignore[arg-type]
    return NamespaceSandbox(groups).run(spec, work, cancel), cancel


def left(groups: Groups) -> list[Path]:
    groups.close()
    return [one for folder in (groups.memory, groups.freezer) if folder for one in folder.glob(f"hb-{os.getpid()}-*")]


@pytest.fixture(params=["born", "moved", "tree"])
def groups(request: pytest.FixtureRequest) -> Iterator[Groups]:
    """Sandboxes that start in their group, those that are moved there, and those without any."""
    found = Groups.find()
    if request.param == "tree":
        yield Groups()
        return
    if found.memory is None:
        pytest.skip("no memory controller may be used here")
    if request.param == "born" and not Berths.possible(found.memory):
        pytest.skip("version 2: processes are moved")
    if request.param == "moved":
        found._berths = None
    yield found
    found.close()


def test_the_peak_is_that_of_all_processes_together(tmp_path: Path, rootfs: Path, groups: Groups) -> None:
    two = f'python3 -c "{EATER.format(size=80, sleep=1)}" & python3 -c "{EATER.format(size=80, sleep=1)}"; wait'
    result, _ = run(tmp_path, rootfs, groups, two)
    assert result.exit_code == 0, result.stderr.read_text()
    assert 160 * MIB <= result.peak < 400 * MIB
    assert left(groups) == []


def test_a_hog_is_killed_at_its_limit_and_its_neighbour_ends_well(tmp_path: Path, rootfs: Path) -> None:
    groups = Groups.find()
    if groups.memory is None:
        pytest.skip("no memory controller may be used here")
    results = {}

    def one(name: str, size: int) -> None:
        script = f'python3 -c "{EATER.format(size=size, sleep=0.5)}"; exit $?'
        results[name] = run(tmp_path / name, rootfs, groups, script, memory=128 * MIB)[0]

    for name in ("hog", "neighbour"):
        (tmp_path / name).mkdir()
    threads = [threading.Thread(target=one, args=pair) for pair in (("hog", 300), ("neighbour", 40))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["hog"].ending is Ending.OOM
    assert results["hog"].exit_code != 0
    assert (results["neighbour"].ending, results["neighbour"].tainted) == (Ending.EXITED, "")
    assert left(groups) == []


def test_what_is_frozen_stands_still_and_can_be_killed(tmp_path: Path, rootfs: Path, groups: Groups) -> None:
    cancel = Joined()
    work = tmp_path / "work"
    work.mkdir()
    script = "while true; do echo x; sleep 0.01; done"
    spec = SandboxSpec(argv=("/bin/bash", "-c", script), roots=(rootfs,), timeout=60.0)
    results: list[SandboxResult] = []
    thread = threading.Thread(target=lambda: results.append(NamespaceSandbox(groups).run(spec, work, cancel)))
    thread.start()
    while cancel.group is None or not (work / "stdout").exists():
        time.sleep(0.01)
    cancel.group.freeze(True)
    time.sleep(0.3)
    size = (work / "stdout").stat().st_size
    time.sleep(0.3)
    assert (work / "stdout").stat().st_size == size
    cancel.set()
    thread.join(10)
    assert [one.ending for one in results] == [Ending.CANCELLED]
    assert left(groups) == []


BOMB = "import os, time\nwhile True:\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0: time.sleep(0.05)\n        os._exit(0)\n    os.waitpid(-1, os.WNOHANG)"


def test_what_forks_and_lets_go_of_its_children_is_in_the_group_as_a_whole(
    tmp_path: Path, rootfs: Path, groups: Groups
) -> None:
    """From its first instruction: daemons, sessions of their own and orphans of the namespace are looked for
    by the namespace they are in, not by who their parents say they are."""
    if groups.memory is None:
        pytest.skip("nothing to be in")
    cancel = Joined()
    work = tmp_path / "work"
    work.mkdir()
    spec = SandboxSpec(argv=("/usr/bin/python3", "-c", BOMB), roots=(rootfs,), timeout=60.0)
    results: list[SandboxResult] = []
    thread = threading.Thread(target=lambda: results.append(NamespaceSandbox(groups).run(spec, work, cancel)))
    thread.start()
    seen: set[int] = set()
    try:
        until(lambda: cancel.group is not None)
        assert isinstance(cancel.group, KernelGroup) and cancel.group.memory_folder is not None
        name = cancel.group.memory_folder.name
        end = time.monotonic() + 20
        while len(seen) < 100 and time.monotonic() < end:
            for pid in of_namespace(cancel.group.pid):
                if (inside := is_inside(pid, name)) is not None:
                    assert inside, f"{pid} is not in the group"
                    seen.add(pid)
    finally:
        cancel.set()
        thread.join(20)
    assert len(seen) >= 100
    assert [one.ending for one in results] == [Ending.CANCELLED]
    assert left(groups) == []


PF_EXITING = 4


def is_inside(pid: int, group: str) -> bool | None:
    """None for what has ended, or is about to: it is in no group of version 1 any more."""
    try:
        inside = group in Path(f"/proc/{pid}/cgroup").read_text()
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
    except OSError:
        return None
    return None if flags & PF_EXITING else inside


def of_namespace(pid: int) -> list[int]:
    """The processes of a process's namespace, or none when it has ended."""
    found = []
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")
        for one in os.listdir("/proc"):
            try:
                if one.isdecimal() and os.readlink(f"/proc/{one}/ns/pid") == wanted:
                    found.append(int(one))
            except OSError:
                continue
    except OSError:
        pass
    return found


def until(true: Callable[[], bool], limit: float = 20.0) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_one_sandbox_leaves_nothing_to_the_next_one_in_its_group(tmp_path: Path, rootfs: Path) -> None:
    groups = Groups.find()
    if groups.memory is None or not Berths.possible(groups.memory):
        pytest.skip("no group is used twice here")
    hog, _ = run(tmp_path, rootfs, groups, f'python3 -c "{EATER.format(size=300, sleep=0)}"', memory=128 * MIB)
    assert hog.ending is Ending.OOM
    small, cancel = run(tmp_path, rootfs, groups, "sleep 0.5; exit 3", memory=64 * MIB)
    assert (small.ending, small.exit_code, small.tainted) == (Ending.EXITED, 3, "")
    assert 0 < small.peak < 40 * MIB
    large, again = run(tmp_path, rootfs, groups, f'python3 -c "{EATER.format(size=200, sleep=0)}"')
    assert (large.ending, large.exit_code) == (Ending.EXITED, 0), large.stderr.read_text()
    assert isinstance(cancel.group, KernelGroup) and isinstance(again.group, KernelGroup)
    assert cancel.group.memory_folder == again.group.memory_folder
    assert left(groups) == []


def test_as_many_groups_as_sandboxes_at_once_and_hb_itself_in_none(tmp_path: Path, rootfs: Path) -> None:
    groups = Groups.find()
    if groups.memory is None or not Berths.possible(groups.memory):
        pytest.skip("no group is used twice here")
    first = groups.berth(64 * MIB)
    assert first is not None
    held = first.start(lambda: bytearray(b"x") * (200 * MIB))  # more than the limit
    group = groups.make(os.getpid(), berth=first)
    group.look()
    assert (len(held), group.oom_kills()) == (200 * MIB, 0)
    assert group.peak < 64 * MIB
    second = groups.berth()
    assert second is not None and second.folder != first.folder
    first.leave()
    assert groups.berth() is first
    first.leave()
    second.leave()
    assert left(groups) == []
    third = groups.berth()  # after closing, too
    assert third is not None
    third.leave()
    assert left(groups) == []


def test_groups_of_dead_processes_go() -> None:
    groups = Groups.find()
    if groups.memory is None:
        pytest.skip("no memory controller may be used here")
    dead = subprocess.Popen(["true"])
    dead.wait()
    folder = groups.memory / f"hb-{dead.pid}-1-1-1"
    folder.mkdir()
    Groups.find()
    assert not folder.exists()


def test_a_machine_without_groups_measures_the_tree(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    groups = Groups.find(proc)
    assert (groups.memory, groups.freezer) == (None, None)
    group = groups.make(os.getpid())
    assert isinstance(group, TreeGroup)
    group.look()
    assert group.peak > MIB
    assert os.getpid() in family(os.getpid())


def test_files_of_version_2_are_read(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 5000\nshmem 24\n")
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 3\n")
    (tmp_path / "cgroup.freeze").write_text("0")
    group = KernelGroup(1, tmp_path, tmp_path)
    group.look()
    group.freeze(True)
    assert (group.now, group.oom_kills()) == (1024, 3)
    assert (tmp_path / "cgroup.freeze").read_text() == "1"


def test_the_tightest_of_the_enclosing_groups_counts(tmp_path: Path) -> None:
    for name, limit, usage, cache in (("a", "max", 5, 0), ("b", "1000", 900, 300), ("c", "2000", 100, 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "memory.max").write_text(limit)
        (tmp_path / name / "memory.current").write_text(str(usage))
        (tmp_path / name / "memory.stat").write_text(f"inactive_file {cache}\n")
    room = tightest([tmp_path / name for name in "abc"])
    assert room is not None and (room.total, room.available) == (1000, 400)
    assert tightest([tmp_path / "a", tmp_path / "nowhere"]) is None


def test_what_proc_does_not_say_is_zero(tmp_path: Path) -> None:
    assert (machine_memory(tmp_path).total, stalled(tmp_path), tree_memory(1, tmp_path)) == (0, 0.0, 0)
    assert machine_memory().total > machine_memory().available > 0
