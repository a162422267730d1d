"""Explaining a build of a generated workspace: one source edited, and everything built again; against
``ninja -n -d explain`` on the same graph with the same edit.

usage: python tests/bench/bench_why.py [TARGETS]

Every hb and every ninja is a new process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_warm import HB, for_ninja, quiet, targets
from common import paired, row, timed
from workspace import generate


def measure(count: int, folder: Path) -> None:
    root, ninja = folder / "hb", folder / "ninja"
    generate(root, count)
    ninja.mkdir()
    for_ninja(root, ninja)
    env = {"HB_STORE": str(folder / "store")}
    package, name, _, _ = max(targets(root), key=lambda one: int(one[1][1:]))  # at the top of the graph
    label = f"//{package}:{name}"

    def why() -> None:
        quiet(HB, "why", label, cwd=root, **env)

    def whole() -> None:
        quiet(HB, "log", "last", "--all", cwd=root, **env)

    def explain() -> None:
        quiet("ninja", "-n", "-d", "explain", cwd=ninja)

    quiet(HB, "build", "//...", cwd=root, **env)
    quiet("ninja", cwd=ninja)
    (root / "g0/p0/t0_0.txt").write_text("edited\n")
    quiet(HB, "build", "//...", cwd=root, **env)
    print(f"{count} targets; why of {label}")
    ours, theirs = paired(why, explain)
    row("one source edited", ours, "ninja -n -d explain", theirs)
    rule = root / "toolchains/bench.py"
    text = rule.read_text().replace('{"input": one.path}', '{"input": one.path, "mode": "0600"}')
    rule.write_text(text)
    quiet(HB, "build", "//...", cwd=root, **env)
    for path in root.glob("g*/p*/*.txt"):
        os.utime(path)
    ours, theirs = paired(why, explain)
    row("everything built again", ours, "ninja -n -d explain", theirs)
    print(f"{'the log of that build':45} {timed(whole) * 1000:10.1f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10000, Path(folder))
        subprocess.run(["chmod", "-R", "u+w", folder], check=False)


main()
