"""hb is killed at random moments of builds that write to a bucket, and beside a collector that deletes from it. What
they leave, here and there, is sound, and the next build is right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from remote_machines import problems, share_clients

from hermetic.store.disk import DiskStore
from hermetic.store.trust import Signer
from hermetic.store.verify import verify

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("HB_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

GRAPH = """
command(name="a", rootfs=":rootfs", srcs=["a.bin"], cmd="mkdir -p out/deep && cp a.bin out/a && for n in 1 2 3 4 5 6; do head -c $((n * 40000)) a.bin > out/deep/$n; done")
command(name="b", rootfs=":rootfs", srcs=["b.txt"], cmd="mkdir -p out && cat b.txt > out/b")
command(name="c", rootfs=":rootfs", srcs=["a.bin"], deps=[":b"], cmd="mkdir -p out && cat b/b a.bin > out/c")
command(name="ab", rootfs=":rootfs", deps=[":a", ":b", ":c"], cmd="mkdir -p out && cat a/deep/6 b/b c/c > out/ab")
"""
PART, WHOLE = 2_000_000, 17_000_000  # bytes of a.bin: one request each, and an upload in parts


def content(machine, seed: int, size: int) -> bytes:
    """Give a machine sources of its own; what ``ab`` must be."""
    data = random.Random(seed).randbytes(size)
    (machine.workspace.root / "a.bin").write_bytes(data)
    machine.workspace.write("b.txt", f"text {seed}\n")
    machine.workspace.build_file(GRAPH)
    text = f"text {seed}\n".encode()
    return data[:240_000] + text + text + data


def output(machine) -> bytes:
    return (machine.workspace.root / "hb-out/ab/ab").read_bytes()


def start(machine) -> subprocess.Popen[bytes]:
    words = [str(ROOT / "hb"), "build", "//:ab", "--remote-cache", machine.url]
    env = {**os.environ, "HB_STORE": str(machine.workspace.store), "XDG_CONFIG_HOME": str(machine.home)}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        words, cwd=machine.workspace.root, env=env, stdout=quiet, stderr=quiet, start_new_session=True
    )


def own_key(machine) -> Signer:
    return Signer((machine.home / "hb/cache-signing.pem").read_bytes(), "the machine's own key")


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_random_points(machines, s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int) -> None:
    """The whole process group, between its start and a little after its usual end."""
    print(f"HB_SEED={SEED}")
    share_clients(monkeypatch)
    numbers = random.Random(SEED)
    probe = machines(s3.url())
    content(probe, SEED, PART)
    began = time.monotonic()
    probe.build()
    usual = time.monotonic() - began
    killed = 0
    for number in range(kills):
        machine = machines(s3.url())
        truth = content(machine, SEED + number, WHOLE if number % 5 == 4 else PART)
        moment = numbers.uniform(0.05, 1.1 * usual)
        with start(machine) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            killed += process.poll() is None
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        where = f"kill {number} at {moment:.3f} s"
        assert verify(DiskStore(machine.workspace.store)).good, where
        assert problems(machine.url, own_key(machine), tmp_path / "left") == [], where
        machine.build()
        assert output(machine) == truth, where
        assert verify(DiskStore(machine.workspace.store)).good, where
        assert problems(machine.url, own_key(machine), tmp_path / "then") == [], where
        for path in (machine.workspace.root, machine.workspace.store, tmp_path / "left", tmp_path / "then"):
            subprocess.run(["rm", "-rf", str(path)], check=True)
    print(f"{killed} of {kills} were killed before they had ended")
    assert killed > kills / 3


@pytest.mark.slow
def test_builds_beside_a_collector(machines, s3, tmp_path: Path) -> None:
    """Three machines build what they share, edited again and again; a collector deletes whatever it may meanwhile."""
    print(f"HB_SEED={SEED}")
    url = s3.url()
    first = machines(url)
    content(first, SEED, PART)
    first.build()
    over = threading.Event()
    wrong: list[str] = []
    collected: list[str] = []

    def collect() -> None:
        while not over.is_set():
            done = first.workspace.hb("cache", "gc", "--remote", url, "--keep-days", "0", "--grace-hours", "0")
            collected.append(done.err)
            if done.code:
                wrong.append(done.err)

    def build(machine, number: int) -> None:
        numbers = random.Random(SEED + number)
        for _ in range(5):
            truth = content(machine, SEED + numbers.randrange(3), PART)
            subprocess.run(["rm", "-rf", str(machine.workspace.store)], check=True)
            built = machine.hb("build", "//:ab", "--json")
            if built.code or output(machine) != truth:
                wrong.append(built.err)

    threads = [threading.Thread(target=build, args=(machines(url), number)) for number in range(3)]
    collector = threading.Thread(target=collect)
    for thread in (*threads, collector):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    collector.join()
    assert wrong == []
    assert any(" 0 results" not in text for text in collected), collected
    assert problems(url, own_key(first), tmp_path / "check") == []
