"""Real clients of the jobserver, from the wheels that people install: ninja 1.13 and nvcc 13."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from hermetic.execution.schedule import Budget
from hermetic.sandbox import jobserver_tools
from hermetic.sandbox.jobserver import Client, Pool
from hermetic.sandbox.jobserver_tools import Tools, tools_in
from hermetic.sandbox.spec import JOBSERVER

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.network, pytest.mark.slow]
KERNEL = (
    "__global__ void add(float *a, const float *b, int n) { if (threadIdx.x < n) a[threadIdx.x] += b[threadIdx.x]; }"
)
ARCHES = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in (75, 80, 89, 90)]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``usr/local/cuda`` with the locked compiler, and ``bin/ninja``."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("no uv")
    top = tmp_path_factory.mktemp("wheels")
    lock = (ROOT / "toolchains/locks/cuda13.lock").read_text().splitlines()
    wanted = ["ninja==1.13.*", *(line.split()[0] for line in lock if not line.startswith("#"))]
    subprocess.run([uv, "pip", "install", "-q", "--no-deps", "--target", str(top / "got"), *wanted], check=True)
    (top / "usr/local").mkdir(parents=True)
    (top / "got/nvidia/cu13").rename(top / "usr/local/cuda")
    (top / "usr/local/cuda/lib64").symlink_to("lib")
    (top / "bin").mkdir()
    (top / "got/bin/ninja").rename(top / "bin/ninja")
    return top


class Listener:
    """A pool with a client, and the most tokens that were held at a time."""

    def __init__(self, fifo: Path, cpus: int) -> None:
        self.budget = Budget(cpus, 0)
        self.pool = Pool(self.budget)
        assert self.budget.take(1, 0)
        self.client: Client = self.pool.join(fifo, 0, cpus - 1)
        self.most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self.client.given == self.client.idle, "a token was kept"
        self.pool.leave(self.client)
        self.pool.close()
        self.budget.give(1, 0)
        assert self.budget.free == (self.budget.cpus, 0)

    def _watch(self) -> None:
        while not self._ended.wait(0.002):
            with self.pool._lock:
                self.most = max(self.most, self.client.given - self.client.idle)


def told(tools: Tools, listener: Listener, jobs: int) -> tuple[dict[str, str], tuple[int, ...]]:
    """The environment that hb hands over, with the FIFO where it is outside a sandbox."""
    fds = listener.client.descriptors() if tools.style == "fds" else None
    speed = {
        name: value.replace(JOBSERVER, str(listener.client.path))
        for name, value in jobserver_tools.settings(tools, jobs, fds)
    }
    return {"PATH": "/usr/bin:/bin", **speed}, fds or ()


@pytest.mark.parametrize("make", ["", "fds"])
def test_ninja_1_13_listens_to_a_fifo_and_beside_an_old_make_to_descriptors(
    wheels: Path, tmp_path: Path, make: str
) -> None:
    edges = "".join(f"build o{n}: r\n" for n in range(16))
    (tmp_path / "build.ninja").write_text("rule r\n  command = echo start >> log; sleep 0.1; echo end >> log\n" + edges)
    found = tools_in([wheels])
    assert found.ninja == "both"
    tools = Tools(make, found.ninja).meant_by(["ninja"])
    assert tools.style == (make or "fifo")
    with Listener(tmp_path / "fifo", 4) as listener:
        env, fds = told(tools, listener, 16)
        done = subprocess.run(
            [str(wheels / "bin/ninja")],
            cwd=tmp_path,
            env=env,
            pass_fds=fds,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    now = most = 0
    for word in (tmp_path / "log").read_text().split():
        now += 1 if word == "start" else -1
        most = max(most, now)
    assert most == 4


@pytest.mark.skipif(shutil.which("gcc") is None, reason="nvcc needs a host compiler")
def test_nvcc_13_takes_threads_from_the_pool_and_makes_the_same_bytes(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "k.cu").write_text(KERNEL)
    tools = tools_in([wheels]).meant_by(["nvcc -c k.cu"])
    assert tools.nvcc
    seen = set()
    for cpus in (1, 4):
        with Listener(tmp_path / "fifo", cpus) as listener:
            env, _ = told(tools, listener, cpus)
            argv = [str(wheels / "usr/local/cuda/bin/nvcc"), "-objtemp", "-c", *ARCHES, "k.cu", "-o", "k.o"]
            done = subprocess.run(
                argv, cwd=tmp_path, env={**env, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr
        assert "observer" not in done.stderr
        assert (listener.most > 0) is (cpus > 1)
        assert listener.most < cpus
        seen.add(hashlib.sha256((tmp_path / "k.o").read_bytes()).hexdigest())
        os.unlink(tmp_path / "k.o")
    assert len(seen) == 1
