"""Spans: what they cost a build that nobody watches, and one that writes a profile.

usage: PYTHONPATH=. python tests/bench/bench_spans.py [ACTIONS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

from common import paired, row

from hermetic.spans import UNHEARD

HB = str(Path(__file__).parents[2] / "hb")
ROUNDS = 5


def quiet(root: Path, *argv: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run(argv, cwd=root, env=env, check=True, capture_output=True)


def unheard() -> float:
    """Seconds of a span that nobody hears of, with attributes at both ends."""

    def one() -> None:
        with UNHEARD.span("look", label="//:a", mnemonic="Make") as span:
            span.say(key="0", outcome="miss")

    return min(timeit.repeat(one, number=100_000, repeat=5)) / 100_000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pyproject.toml").write_text("[tool.hb]\n")
        lines = [f'tree(name="t{n}", files={{"/f": "{n}"}})\n' for n in range(count)]
        (root / "BUILD.py").write_text("from rules.basic import tree\n" + "".join(lines))
        numbers = iter(range(1000))

        def build(*more: str) -> None:
            """With an empty store: every action is looked for and runs."""
            quiet(root, HB, "build", "//...", "--store", str(root / f"store{next(numbers)}"), *more)

        profile = root / "trace.json"
        build()
        watched, plain = paired(lambda: build("--profile", str(profile)), build, ROUNDS)
        spans = [one for one in json.loads(profile.read_text())["traceEvents"] if one["ph"] == "X"]
        row(f"{count} actions with --profile", watched, "without", plain)
        cost = unheard()
        row(f"{len(spans)} spans that nobody hears of", cost * len(spans), "the build they are in", plain)
        print(f"one such span: {cost * 1e9:.0f} ns; of the build: {cost * len(spans) / plain:.3%}")


main()
