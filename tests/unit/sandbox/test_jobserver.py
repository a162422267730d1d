"""One pool of tokens: its arithmetic against every order of events, and real build tools on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.execution.schedule import Budget
from hermetic.sandbox import jobserver_tools
from hermetic.sandbox.jobserver import Client, Pool
from hermetic.sandbox.jobserver_tools import Tools, tools_in

MAKEFILE = """
all: $(foreach n,1 2 3 4 5 6 7 8 9 10 11 12,job$(n))
job%:
\t@echo start >> log; sleep 0.1; echo end >> log
"""


class Quiet(Pool):
    """A pool whose thread never ticks: the test does."""

    def _run(self) -> None: ...


steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 3)),
        st.tuples(
            st.sampled_from(["tick", "leave", "use", "return", "forge", "withdraw", "owe", "restore"]),
            st.integers(0, 3),
        ),
    ),
    max_size=40,
)


@given(steps, st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_tokens_are_never_made_or_lost(plan: list[tuple[str, int]], cpus: int) -> None:
    budget = Budget(cpus, 100)
    pool = Quiet(budget)
    clients: list[Client] = []
    held: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (what, which) in enumerate(plan):
            client = clients[which % len(clients)] if clients else None
            if what == "join":
                clients.append(pool.join(Path(folder) / f"f{number}", which * 10, 4))
            elif what == "tick":
                pool.tick()
            elif what == "withdraw" or what == "restore":
                pool.withdrawn = what == "withdraw"
            elif what == "owe":
                pool.owed = (1, 0)
            elif client is not None and what == "use" and client.idle:
                os.read(client.handle, 1)
                held[id(client)] = held.get(id(client), 0) + 1
            elif client is not None and what == "return" and held.get(id(client)):
                os.write(client.handle, b"+")
                held[id(client)] -= 1
            elif client is not None and what == "forge":
                os.write(client.handle, b"++")
            elif client is not None and what == "leave":
                clients.remove(client)
                pool.leave(client)
            free = budget.free
            assert free[0] + sum(one.given for one in clients) == cpus
            assert free[1] + sum(one.given * one.memory for one in clients) == 100
            assert all(0 <= one.given <= one.most for one in clients)
        for client in clients:
            pool.leave(client)
        assert budget.free == (cpus, 100)
        assert os.listdir(folder) == []


def test_a_sandbox_that_floods_its_fifo_gains_nothing(tmp_path: Path) -> None:
    budget = Budget(4, 0)
    pool = Quiet(budget)
    client, other = pool.join(tmp_path / "a", 0, 3), pool.join(tmp_path / "b", 0, 3)
    client.put(0)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(client.handle, b"+" * 4096)
    assert client.put(1) == 0
    for _ in range(5):
        pool.tick()
    assert (client.given, other.given) == (0, 1)
    assert client.draw(3) == 0  # what was forged is thrown away
    pool.leave(client)
    pool.leave(other)
    assert budget.free == (4, 0)


def test_idle_tokens_go_to_who_runs_dry(tmp_path: Path) -> None:
    pool = Quiet(Budget(3, 0))
    rich = pool.join(tmp_path / "rich", 0, 9)
    for _ in range(3):
        pool.tick()
        if rich.given == 3:
            break
        os.read(rich.handle, 9)  # it uses what it gets …
    os.write(rich.handle, b"+" * (rich.given - rich.idle))  # … and needs no more
    poor = pool.join(tmp_path / "poor", 0, 9)
    pool.tick()
    assert (rich.given, poor.given) == (2, 1)
    assert pool.reclaim(2, 0)
    assert rich.given + poor.given == 1


@pytest.mark.parametrize("style", ["fds", "fifo"])
def test_real_make_runs_as_many_jobs_as_there_are_tokens(tmp_path: Path, style: str) -> None:
    make = shutil.which("make", path="/usr/bin")
    if make is None:
        pytest.skip("no make")
    supports = tools_in([Path("/")], "").make
    if style == "fifo" and supports == "fds":
        pytest.skip("this make aborts on a FIFO")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    budget = Budget(3, 0)
    pool = Pool(budget)
    assert budget.take(1, 0)  # the implicit slot
    client = pool.join(tmp_path / "fifo", 0, 9)
    try:
        fds = client.descriptors() if style == "fds" else None
        auth = f"{fds[0]},{fds[1]}" if fds else f"fifo:{client.path}"
        done = subprocess.run(
            [make, "-C", str(tmp_path)], env={"MAKEFLAGS": f"-j3 --jobserver-auth={auth}", "PATH": "/usr/bin:/bin"},
            pass_fds=fds or (), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "jobserver" not in done.stderr
        assert most_at_once(tmp_path / "log") == 3
    finally:
        pool.leave(client)
        pool.close()
    assert budget.free == (2, 0)


def test_a_killed_make_gives_its_tokens_back_and_withdrawing_slows_a_running_one(tmp_path: Path) -> None:
    make = shutil.which("make", path="/usr/bin")
    if make is None:
        pytest.skip("no make")
    (tmp_path / "Makefile").write_text(
        "all: $(foreach n,$(shell seq 400),job$(n))\njob%:\n\t@echo start >> log; sleep 0.05; echo end >> log\n"
    )
    budget = Budget(6, 0)
    pool = Pool(budget)
    assert budget.take(1, 0)
    client = pool.join(tmp_path / "fifo", 0, 9)
    fds = client.descriptors()
    process = subprocess.Popen(
        [make, "-C", str(tmp_path)], env={"MAKEFLAGS": f"-j6 --jobserver-auth={fds[0]},{fds[1]}", "PATH": "/usr/bin:/bin"},
        pass_fds=fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: pool.lent == 5)
        until(lambda: client.idle == 0)
        pool.withdrawn = True
        until(lambda: pool.lent == 0)  # it goes on with the one job of its own
        assert process.poll() is None
        pool.withdrawn = False
        until(lambda: pool.lent == 5)
    finally:
        process.kill()
        process.wait()
        pool.leave(client)
        pool.close()
    assert budget.free == (5, 0)


def until(true: object, limit: float = 20.0) -> None:
    end = time.monotonic() + limit
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def most_at_once(log: Path) -> int:
    now = most = 0
    for line in log.read_text().split():
        now += 1 if line == "start" else -1
        most = max(most, now)
    return most


def test_tools_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("/usr/bin")  # absolute: it leads out of the staged tree
    (root / "usr/bin/gmake").write_bytes(b"\x7fELF fifo: jobserver")
    (root / "usr/bin/make").symlink_to("/usr/bin/gmake")
    (root / "usr/bin/ninja").write_bytes(b"\x7fELF old")
    (root / "usr/bin/g++").touch()
    assert tools_in([root]) == Tools("fifo", "old", languages=frozenset({"c++"}))
    other = tmp_path / "other"
    (other / "opt/bin").mkdir(parents=True)
    (other / "opt/bin/make").write_bytes(b"\x7fELF 4.3")
    assert tools_in([root, other], "/opt/bin:/bin").make == "fds"
    assert tools_in([tmp_path / "nothing"], "/../../../../usr/bin") == Tools()


@pytest.mark.parametrize(
    ("content", "means"),
    [(b"ninja 1.11", "old"), (b"--jobserver-auth=", "fifo"), (b"--jobserver-auth= 1.13.2.jobserver-pipe-1", "both")],
)
def test_ninjas_are_told_apart(tmp_path: Path, content: bytes, means: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ninja").write_bytes(content)
    (tmp_path / "bin/nvcc").write_bytes(b"-threads")
    assert tools_in([tmp_path]) == Tools(ninja=means, languages=frozenset({"cuda"}))


@pytest.mark.parametrize(
    ("tools", "texts", "style", "nvcc"),
    [
        (Tools("fds", "old", True), ["make all"], "fds", False),
        (Tools("fds", "old", True), ["cmake --build ."], "", False),
        (Tools("fds", "old"), ["/bin/bash", "/hb/build.sh", "set -e\n/usr/bin/ninja -C b"], "", False),
        (Tools("fds", "old"), ["sh", "cat ninja-notes.txt"], "fds", False),
        (Tools("fifo", "fifo"), ["ninja"], "fifo", False),
        (Tools("fds", "fifo"), ["ninja"], "", False),  # it would ignore descriptors, and make dies of a FIFO
        (Tools("fds", "both"), ["ninja"], "fds", False),
        (Tools("fds", "old", nvcc=True), ["nvcc -c x.cu"], "fifo", True),
        (Tools("fds", "old", nvcc=True), ["make; nvcc -c x.cu"], "fds", False),  # a FIFO ends make, descriptors nvcc
        (Tools("fds", "old", nvcc=True), ["nvcc -c x.cu && ninja"], "", False),
        (Tools("fifo", "fifo", nvcc=True), ["ninja"], "fifo", True),
        (Tools("fifo", "fifo", nvcc=True), ["ninja", "/usr/bin/sccache"], "fifo", False),
    ],
)
def test_whose_words_are_used_shows_in_what_the_command_says(
    tools: Tools, texts: list[str], style: str, nvcc: bool
) -> None:
    meant = tools.meant_by(texts)
    assert (meant.style, meant.nvcc) == (style, nvcc)


@pytest.mark.parametrize(
    ("tools", "present", "absent"),
    [
        (Tools("fds"), {"MAKEFLAGS": "-j8 --jobserver-auth=5,6"}, ["CMAKE_BUILD_PARALLEL_LEVEL"]),
        (Tools("fifo"), {"MAKEFLAGS": "-j8 --jobserver-auth=fifo:/dev/hb-jobserver", "MAX_JOBS": "8"}, []),
        (Tools("fifo", "fifo"), {"NVCC_THREADS": "1"}, ["MAX_JOBS", "NINJAFLAGS", "CMAKE_BUILD_PARALLEL_LEVEL"]),
        (Tools("fds", "both"), {"MAKEFLAGS": "-j8 --jobserver-auth=5,6"}, ["MAX_JOBS", "NINJAFLAGS"]),
        (Tools("fds", "old"), {"CMAKE_BUILD_PARALLEL_LEVEL": "8", "NINJAFLAGS": "-j8"}, []),
        (Tools("", "", True), {"CARGO_MAKEFLAGS": "-j8 --jobserver-auth=fifo:/dev/hb-jobserver"}, ["CARGO_BUILD_JOBS"]),
        (Tools(nvcc=True), {"NVCC_PREPEND_FLAGS": "--jobserver --threads=8"}, []),
        (Tools("fds", nvcc=True), {"NVCC_THREADS": "1"}, ["NVCC_PREPEND_FLAGS"]),
        (Tools(), {"MAKEFLAGS": "-j8", "CARGO_BUILD_JOBS": "8", "MAX_JOBS": "8"}, ["CARGO_MAKEFLAGS"]),
    ],
)
def test_what_tools_are_told(tools: Tools, present: dict[str, str], absent: list[str]) -> None:
    told = dict(jobserver_tools.settings(tools, 8, (5, 6) if tools.style == "fds" else None))
    assert {name: told.get(name) for name in present} == present
    assert not set(absent) & set(told)
