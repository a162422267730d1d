"""A generated workspace for benchmarks: N targets of one small rule, the same ones for the same seed.

usage: python tests/bench/workspace.py DIR N [--seed S]

Each target has 3 source files and, above the lowest of 15 levels, 1–4 dependencies: the first from the level
right below, so that the depth is 15, the others from any lower one. Ten targets make a package, a hundred
packages a folder. Its action is one INTERNAL operation: a tree with its own files and a stamp of each
dependency. A stamp is passed on along first dependencies, so that an edit at the bottom reaches the top while
every output stays a handful of files.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

LEVELS, FILES, PER_PACKAGE, PER_FOLDER = 15, 3, 10, 100

RULE = '''"""The one rule of the generated workspace."""

from collections.abc import Sequence
from dataclasses import dataclass

from hermetic.api import Context, Default, Dep, Input, Inside, Kind, Made, Provider, Rule, SourceFile, Src, declare


@dataclass(frozen=True)
class Stamped(Provider):
    """``stamp``: the file of ``tree`` that stands for it in the trees of others."""

    tree: Made
    stamp: str


class Unit(Rule):
    """Three files, and a stamp of each dependency."""

    srcs: list[Src] = []
    deps: list[Dep] = []

    def actions(self, ctx: Context) -> Sequence[Provider]:
        files = [src for src in self.srcs if isinstance(src, SourceFile)]
        inputs = [Input(f"/f{number}", src) for number, src in enumerate(files)]
        for number, dep in enumerate(self.deps):
            found = dep[Stamped]
            inputs.append(Input(f"/d{number}", Inside(found.tree, found.stamp, Kind.BLOB)))
        entries = {one.path: {"input": one.path} for one in inputs}
        made = ctx.operate("write", {"files": entries}, inputs=inputs, outputs={"out": Kind.TREE})
        return [Default(made), Stamped(made["out"], "/d0" if self.deps else "/f0")]


unit = declare(Unit)
'''

HEAD = 'from toolchains.bench import unit\n\npackage(default_visibility=["//visibility:public"])\n\n'


def generate(root: Path, count: int, seed: int = 1) -> None:
    """Write a workspace of ``count`` targets into ``root``, which need not exist."""
    chance = random.Random(seed)
    levels = min(LEVELS, count)
    (root / "toolchains").mkdir(parents=True)
    (root / "toolchains" / "__init__.py").write_text("")
    (root / "toolchains" / "bench.py").write_text(RULE)
    (root / "pyproject.toml").write_text("[tool.hb]\n")
    (root / "BUILD.py").write_text("")
    for first in range(0, count, PER_PACKAGE):
        folder = root / package_of(first)
        folder.mkdir(parents=True)
        lines = [HEAD]
        for number in range(first, min(first + PER_PACKAGE, count)):
            names = [f"t{number}_{one}.txt" for one in range(FILES)]
            for name in names:
                (folder / name).write_text(f"{name} {chance.random()}\n")
            srcs = f'glob(["t{number}_*.txt"])' if number == first else repr(names).replace("'", '"')
            deps = repr([label_of(dep) for dep in dependencies(number, count, levels, chance)]).replace("'", '"')
            lines.append(f'unit(name="t{number}", srcs={srcs}, deps={deps})\n')
        (folder / "BUILD.py").write_text("".join(lines))


def dependencies(number: int, count: int, levels: int, chance: random.Random) -> list[int]:
    """The targets that ``number`` depends on, each once: all of lower levels."""
    level = number * levels // count
    if level == 0:
        return []
    start, below = first_of(level, count, levels), first_of(level - 1, count, levels)
    chosen = {chance.randrange(below, start): None}
    for _ in range(chance.randrange(4)):
        chosen[chance.randrange(start)] = None
    return list(chosen)


def first_of(level: int, count: int, levels: int) -> int:
    """The first target of a level."""
    return -(-level * count // levels)


def package_of(number: int) -> str:
    package = number // PER_PACKAGE
    return f"g{package // PER_FOLDER}/p{package}"


def label_of(number: int) -> str:
    return f"//{package_of(number)}:t{number}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    generate(args.root, args.count, args.seed)


if __name__ == "__main__":
    main()
