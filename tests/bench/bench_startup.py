"""Start-up: `hb --version` against a bare Python, and a null build against ninja's.

usage: python tests/bench/bench_startup.py [TARGETS]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import paired, row

HB = str(Path(__file__).parents[2] / "hb")


def quiet(*argv: str, cwd: Path | None = None, **env: str) -> None:
    subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, check=True, capture_output=True)


def null_build(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pyproject.toml").write_text("[tool.hb]\n")
        (root / "BUILD.py").write_text("")
        packages = max(count // 50, 1)
        for number in range(packages):
            package = root / f"p{number}"
            package.mkdir()
            lines = ["from rules.basic import tree\n"]
            lines += [f'tree(name="t{n}", files={{"/f{n}": "{number}-{n}"}})\n' for n in range(count // packages)]
            (package / "BUILD.py").write_text("".join(lines))
        ninja = "rule touch\n  command = touch $out\n" + "".join(f"build f{n}: touch\n" for n in range(count))
        (root / "build.ninja").write_text(ninja)
        store = str(root / "store")
        quiet(HB, "build", "//...", cwd=root, HB_STORE=store)
        quiet("ninja", cwd=root)
        ours, peer = paired(
            lambda: quiet(HB, "build", "//...", cwd=root, HB_STORE=store), lambda: quiet("ninja", cwd=root), 3
        )
        row(f"null build, {count} targets", ours, "ninja, as many files", peer)


def main() -> None:
    ours, peer = paired(lambda: quiet(HB, "--version"), lambda: quiet("python3", "-S", "-c", ""), 15)
    row("hb --version", ours, "python3 -S -c ''", peer)
    if shutil.which("ninja"):
        null_build(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)


main()
