"""Queries: hb on a generated workspace against Bazel on the same graph, where Bazel can be found.

usage: python tests/bench/bench_query.py [TARGETS…]

hb is a new process each time, with the graph kept by an earlier query. Bazel's server is warm (it has the
graph in memory), and once cold. Answers are compared by their number of labels.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import paired, row, timed
from workspace import generate, label_of

HB = str(Path(__file__).parents[2] / "hb")


def asked(*argv: str, cwd: Path, **env: str) -> list[str]:
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def for_bazel(root: Path, there: Path) -> None:
    """The same targets as filegroups. Bazel does not look whether source files exist."""
    (there / "WORKSPACE").write_text("")
    for build in sorted(root.glob("g*/p*/BUILD.py")):
        rows: list[str] = []

        def unit(name: str, srcs: list[str], deps: list[str], into: list[str] = rows) -> None:
            into.append(f"filegroup(name = {name!r}, srcs = {srcs + deps!r})\n")

        def glob(patterns: list[str]) -> list[str]:
            return [patterns[0].replace("*", str(number)) for number in range(3)]

        scope: dict[str, Any] = {"unit": unit, "glob": glob, "package": lambda **_: None}
        exec(build.read_text().partition("\n")[2], scope)
        place = there / build.parent.relative_to(root)
        place.mkdir(parents=True)
        (place / "BUILD").write_text("".join(["package(default_visibility = ['//visibility:public'])\n", *rows]))


def measure(count: int, folder: Path) -> None:
    root, there = folder / "hb", folder / "bazel"
    there.mkdir()
    generate(root, count)
    store = str(folder / "store")
    first = timed(lambda: asked(HB, "query", "deps(//...)", cwd=root, HB_STORE=store))
    print(f"{f'{count} targets: the first query loads all':45} {first * 1000:10.1f} ms")
    middle = label_of(count // 2)
    bazel = shutil.which("bazel")
    output = f"--output_user_root={folder}/out"
    if bazel:
        for_bazel(root, there)
        cold = timed(lambda: asked(bazel, output, "query", "deps(//...)", cwd=there))
        print(f"{'':45} {'':10}      {'bazel, cold server':28} {cold * 1000:10.1f} ms")
    for query in ("deps(//...)", f"rdeps(//..., {middle})", f"deps({middle})", f"somepath(//..., {label_of(0)})"):

        def ours(query: str = query) -> list[str]:
            return asked(HB, "query", query, cwd=root, HB_STORE=store)

        def peer(query: str = query) -> list[str]:
            return asked(bazel, output, "query", query, cwd=there) if bazel else []

        if bazel and not query.startswith("some"):
            assert len(ours()) == len(peer()), query
        row(query, *_with(paired(ours, peer, 5), "bazel, warm server" if bazel else "no peer here"))
    if bazel:
        asked(bazel, output, "shutdown", cwd=there)
    print(
        f"{'':45} memory of the largest hb process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10} MiB"
    )


def _with(times: tuple[float, float], name: str) -> tuple[float, str, float]:
    return times[0], name, times[1] or float("nan")


def main() -> None:
    for count in [int(word) for word in sys.argv[1:]] or [1000, 10_000]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                measure(count, Path(folder))
            finally:
                subprocess.run(["chmod", "-R", "u+w", folder], check=False)


main()
