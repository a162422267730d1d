"""Overhead per sandboxed action, against bare bubblewrap starting the same command in the same run: once the
runner alone, from staged inputs to collected output and stored result, once the whole executor with its
schedule, as many at a time as there are CPUs.

usage: python tests/bench/bench_actions.py [ACTIONS]
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from common import row, timed

from hermetic.action import Action, ActionGraph, Input, Kind, Made, Mode, Output, TargetNode
from hermetic.bubblewrap import find_bwrap
from hermetic.errors import Location
from hermetic.execution.executor import Executor, Options
from hermetic.execution.keys import key_of
from hermetic.execution.outcome import Silent
from hermetic.execution.runner import Runner
from hermetic.execution.schedule import Budget
from hermetic.execution.schedule_machine import Machine
from hermetic.execution.sources import Sources
from hermetic.execution.state import Earlier
from hermetic.sandbox.cgroup import Groups
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.store.disk import DiskStore
from hermetic.store.filestate import FileStates
from hermetic.store.ingest import ingest_tree
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage

CHUNK = 250  # actions of a build, and then as many bare ones


def make_root(top: Path) -> None:
    """A root with one program and what it links to."""
    for path in [shutil.which("true") or "/bin/true", *libraries("/bin/true")]:
        place = top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def libraries(program: str) -> list[str]:
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for line in text.splitlines() for word in line.split() if word.startswith("/")]


class Bench:
    """A store with one staged root, and actions that do nothing in it."""

    def __init__(self, base: Path, groups: Groups) -> None:
        make_root(base / "root")
        self.store = DiskStore(base / "store")
        self.tree = Resolved(Kind.TREE, ingest_tree(base / "root", self.store))
        scratch = base / "store" / "work"
        scratch.mkdir()
        self.stage = DiskStage(self.store)
        self.runner = Runner(
            self.store, self.store, self.stage, NamespaceSandbox(groups),
            Sources(base, self.store, FileStates(base / "files.db")), scratch, self.store.root / "derived",
            threading.Event(),
        )  # fmt: skip
        self.program = shutil.which("true") or "/bin/true"

    def action(self, name: str) -> Action:
        return Action(
            name, "//x", "True", Location("B", 1), Mode.COMMAND, (self.program,),
            (Output("out", "/build/out", Kind.TREE),), (Input("/", Made("r", "o", Kind.TREE)),), env=(("N", name),),
        )  # fmt: skip

    def one(self, name: str) -> None:
        action = self.action(name)
        done = self.runner.run(action, key_of(action, lambda ref: self.tree, self.store))
        assert done.error is None, done.error

    def build(self, names: list[str], cpus: int) -> None:
        """As hb does, with the machine's limits."""
        actions = {name: self.action(name) for name in names}
        refs = tuple((name, Made(name, "out", Kind.TREE)) for name in names)
        node = TargetNode("all", "//:all", "", Location("", 0), (), (), (), refs)
        machine = Machine(Budget(cpus, 8 << 30), fifos=self.runner.scratch)
        earlier = Earlier({("r", "o"): self.tree})
        executor = Executor(
            ActionGraph(actions, {"all": node}, ("all",)), self.runner, lambda *_: [], Silent(), Options(cpus), earlier,
            machine,
        )  # fmt: skip
        result = executor.run("bench")
        machine.close()
        assert not result.failures and len(result.finished) == len(names)

    def bare(self) -> None:
        argv = [find_bwrap(), "--unshare-all", "--ro-bind", str(self.stage.tree(self.tree.digest)), "/", "--"]
        subprocess.run([*argv, self.program], check=True, capture_output=True)

    def bare_ones(self, count: int, cpus: int) -> None:
        with ThreadPoolExecutor(cpus) as pool:
            for done in [pool.submit(self.bare) for _ in range(count)]:
                done.result()


def main() -> None:
    count, cpus = int(sys.argv[1]) if len(sys.argv) > 1 else 1000, len(os.sched_getaffinity(0))
    groups = Groups.find()  # measured, as builds are
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), groups)
        bench.one("warm")
        bench.bare()
        # In turns, action by action: a slow moment of the machine hits both.
        pairs = [(timed(partial(bench.one, f"a{number}")), timed(bench.bare)) for number in range(count // 4)]
        ours, peer = (statistics.median(times) for times in zip(*pairs, strict=True))
        row(f"one at a time (median of {len(pairs)})", ours, "bwrap … true", peer)
        print(f"{'own overhead per action':45} {(ours - peer) * 1000:10.1f} ms")
        chunks = []
        for start in range(0, count, CHUNK):
            names = [f"b{number}" for number in range(start, start + CHUNK)]
            chunks.append((timed(partial(bench.build, names, cpus)), timed(partial(bench.bare_ones, CHUNK, cpus))))
        ours, peer = (statistics.median(times) / CHUNK for times in zip(*chunks, strict=True))
        row(f"a build of {len(chunks) * CHUNK}, {cpus} at a time, each", ours, "bwrap … true", peer)
        print(f"{'own overhead per action':45} {(ours - peer) * 1000:10.1f} ms")
    groups.close()


main()
