"""Overhead per sandboxed action: the runner, from staged inputs to collected output and stored result,
against bare bubblewrap starting the same command.

usage: python tests/bench/bench_actions.py [ACTIONS]
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

from common import row, timed

from hermetic.action import Action, Input, Kind, Made, Mode, Output
from hermetic.bubblewrap import find_bwrap
from hermetic.errors import Location
from hermetic.execution.keys import key_of
from hermetic.execution.runner import Runner
from hermetic.execution.sources import Sources
from hermetic.sandbox.cgroup import Groups
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.store.disk import DiskStore
from hermetic.store.filestate import FileStates
from hermetic.store.ingest import ingest_tree
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage


def make_root(top: Path) -> None:
    """A root with one program and what it links to."""
    for path in [shutil.which("true") or "/bin/true", *libraries("/bin/true")]:
        place = top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def libraries(program: str) -> list[str]:
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for line in text.splitlines() for word in line.split() if word.startswith("/")]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_root(base / "root")
        store = DiskStore(base / "store")
        tree = Resolved(Kind.TREE, ingest_tree(base / "root", store))
        sources = Sources(base, store, FileStates(base / "files.db"))
        scratch = base / "store" / "work"
        scratch.mkdir()
        stage, sandbox = DiskStage(store), NamespaceSandbox(groups := Groups.find())  # measured, as builds are
        runner = Runner(store, store, stage, sandbox, sources, scratch, store.root / "derived", threading.Event())
        program = shutil.which("true") or "/bin/true"

        def one(number: int) -> None:
            action = Action(
                f"a{number}", "//x", "True", Location("B", 1), Mode.COMMAND, (program,),
                (Output("out", "/build/out", Kind.TREE),), (Input("/", Made("r", "o", Kind.TREE)),),
                env=(("N", str(number)),),
            )  # fmt: skip
            keyed = key_of(action, lambda ref: tree, store)
            done = runner.run(action, keyed)
            assert done.error is None, done.error

        def bare() -> None:
            root = str(stage.tree(tree.digest))
            argv = [find_bwrap(), "--unshare-all", "--ro-bind", root, "/", "--", program]
            subprocess.run(argv, check=True, capture_output=True)

        one(-1)
        bare()
        # In turns, action by action: a slow moment of the machine hits both.
        pairs = [(timed(partial(one, number)), timed(bare)) for number in range(count)]
        ours, peer = (statistics.median(times) for times in zip(*pairs, strict=True))
        row(f"sandboxed action (median of {count})", ours, "bwrap … true", peer)
        print(f"{'own overhead per action, median':45} {(ours - peer) * 1000:10.1f} ms")
        groups.close()
        mean = statistics.fmean(one - other for one, other in pairs)
        print(f"{'own overhead per action, mean':45} {mean * 1000:10.1f} ms")


main()
