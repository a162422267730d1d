"""Warm builds of a generated workspace: nothing to do, one source edited, one BUILD file edited; against ninja
and, where it can be found, Bazel with a warm and a cold server, on the same graph of the same files.

usage: python tests/bench/bench_warm.py [TARGETS…] [--no-bazel]

Every hb build and every ninja build is a new process. Peak memory is that of the largest process.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import paired, row, timed
from workspace import generate

HB = str(Path(__file__).parents[2] / "hb")
ROUNDS = 7


def quiet(*argv: str, cwd: Path, **env: str) -> None:
    subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, check=True, capture_output=True)


def targets(root: Path) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Every target of a generated workspace: package, name, source files, labels of dependencies."""
    for build in sorted(root.glob("g*/p*/BUILD.py")):
        package = build.parent.relative_to(root).as_posix()
        found: list[tuple[str, list[str], list[str]]] = []

        def unit(name: str, srcs: list[str], deps: list[str], into: list[Any] = found) -> None:
            into.append((name, srcs, deps))

        def glob(patterns: list[str]) -> list[str]:
            return [patterns[0].replace("*", str(number)) for number in range(3)]

        exec(build.read_text().partition("\n")[2], {"unit": unit, "glob": glob, "package": lambda **_: None})
        yield from ((package, *one) for one in found)


def for_ninja(root: Path, there: Path) -> None:
    lines = ["rule touch\n  command = touch $out\n"]
    for package, name, srcs, deps in targets(root):
        inputs = [f"{root}/{package}/{src}" for src in srcs] + [dep[2:].replace(":", "/") for dep in deps]
        lines.append(f"build {package}/{name}: touch {' '.join(inputs)}\n")
    (there / "build.ninja").write_text("".join(lines))


def for_bazel(root: Path, there: Path) -> None:
    (there / "WORKSPACE").write_text("")
    texts: dict[str, list[str]] = {}
    for package, name, srcs, deps in targets(root):
        rule = f"genrule(name={name!r}, srcs={srcs + deps!r}, outs=['{name}.out'], local=1, cmd='touch $@')\n"
        texts.setdefault(package, ["package(default_visibility=['//visibility:public'])\n"]).append(rule)
        (there / package).mkdir(parents=True, exist_ok=True)
        for src in srcs:
            shutil.copy(root / package / src, there / package)
    for package, lines in texts.items():
        (there / package / "BUILD").write_text("".join(lines))


def peak(argv: list[str], cwd: Path, store: str) -> int:
    """The largest resident set of a process and its children, in KiB."""
    code = f"import resource, subprocess; subprocess.run({argv!r}, check=True, capture_output=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    env = {**os.environ, "HB_STORE": store}
    return int(subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, check=True, capture_output=True).stdout)


def edits(work: Callable[[], None], edit: Callable[[int], None], rounds: int = 3) -> float:
    """The median of a build after each of several edits."""
    times = []
    for number in range(rounds):
        edit(number)
        times.append(timed(work))
    return statistics.median(times)


def measure(count: int, folder: Path, bazel: str | None) -> None:
    root, ninja, other = folder / "hb", folder / "ninja", folder / "bazel"
    generate(root, count)
    ninja.mkdir()
    for_ninja(root, ninja)
    store = str(folder / "store")

    def ours() -> None:
        quiet(HB, "build", "//...", cwd=root, HB_STORE=store)

    def theirs() -> None:
        quiet("ninja", cwd=ninja)

    print(f"{count} targets, {count * 3} source files")
    row("from nothing", timed(ours), "ninja, touch", timed(theirs))
    ours()
    row("nothing to do", *_turned(paired(ours, theirs, ROUNDS), "ninja"))
    print(f"{'  peak memory':45} {peak([HB, 'build', '//...'], root, store) / 1024:10.0f} MiB")
    leaf = root / "g0/p0/t0_0.txt"
    source = edits(ours, lambda number: leaf.write_text(f"edited {number}\n") and None)
    row("one source edited", source, "ninja", edits(theirs, lambda number: leaf.write_text(f"{number}\n") and None))
    ours()
    build = root / "g0/p0/BUILD.py"
    text = build.read_text()
    again = edits(ours, lambda number: build.write_text(f"{text}# {number}\n") and None)
    print(f"{'one BUILD file edited':45} {again * 1000:10.1f} ms")
    if bazel:
        other.mkdir()
        for_bazel(root, other)
        argv = [bazel, f"--output_user_root={folder}/out"]
        build_all = [*argv, "build", "//...", "--noshow_progress"]
        print(f"{'  Bazel from nothing':45} {timed(lambda: quiet(*build_all, cwd=other)) * 1000:10.1f} ms")
        warm = statistics.median(timed(lambda: quiet(*build_all, cwd=other)) for _ in range(3))
        quiet(*argv, "shutdown", cwd=other)
        cold = timed(lambda: quiet(*build_all, cwd=other))
        null = statistics.median(timed(ours) for _ in range(3))
        row("nothing to do", null, "Bazel, warm server", warm)
        row("nothing to do", null, "Bazel, cold server", cold)
        quiet(*argv, "shutdown", cwd=other)


def _turned(pair: tuple[float, float], name: str) -> tuple[float, str, float]:
    return pair[0], name, pair[1]


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--no-bazel"]
    bazel = None if "--no-bazel" in sys.argv else shutil.which("bazel")
    for count in [int(word) for word in words] or [100, 1000, 10000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(count, Path(folder), bazel)
            subprocess.run(["chmod", "-R", "u+w", folder], check=False)


if __name__ == "__main__":
    main()
