"""hb query against Bazel itself: random workspaces, random expressions, the same answers in the same order.

Both get the same targets, hb in ``BUILD.py`` and Bazel in ``BUILD`` files. Two functions choose freely
(``somepath``, ``some``) and are left out; ranks are compared for closures only, as Bazel forgets the edges
between targets that it did not meet on a way.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BAZEL = shutil.which("bazel")
pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(BAZEL is None, reason="bazel is not installed"),
]
PACKAGES = ("", "a", "a/b", "a-b", "c", "d/e")
QUERIES = 40


@dataclass(frozen=True)
class Both:
    root: Path
    labels: list[str]
    store: Path
    output: Path

    def hb(self, *words: str) -> list[str]:
        out = self._run(str(ROOT / "hb"), "query", *words)
        return [line.replace("BUILD.py", "BUILD") for line in out]

    def bazel(self, *words: str) -> list[str]:
        return self._run(str(BAZEL), f"--output_user_root={self.output}", "query", "--noimplicit_deps", *words)

    def _run(self, *argv: str) -> list[str]:
        env = {**os.environ, "HB_STORE": str(self.store)}
        done = subprocess.run(argv, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout.splitlines()


def _workspace(root: Path, chance: random.Random) -> list[str]:
    """Write random filegroups and aliases, without circles; returns their labels."""
    places = [(package, f"t{number}") for package in PACKAGES for number in range(4)]
    order = chance.sample(places, len(places))
    texts = {package: ['package(default_visibility=["//visibility:public"])\n'] for package in PACKAGES}
    for at, (package, name) in enumerate(order):
        deps = [f"//{one}:{dep}" for one, dep in chance.sample(order[at + 1 :], min(chance.randrange(4), 23 - at))]
        files = sorted({f"f{chance.randrange(5)}.c" for _ in range(chance.randrange(3))})
        tags = sorted(chance.sample(["x", "y"], chance.randrange(3)))  # Bazel sorts them
        if deps and chance.random() < 0.3:
            texts[package].append(f'alias(name="{name}", actual="{deps[0]}")\n')
        else:
            texts[package].append(f'filegroup(name="{name}", srcs={files + deps!r}, tags={tags!r})\n')
    (root / "pyproject.toml").write_text("[tool.hb]\n")
    (root / "WORKSPACE").write_text("")
    for package, lines in texts.items():
        (root / package).mkdir(parents=True, exist_ok=True)
        (root / package / "BUILD").write_text("".join(lines))
        (root / package / "BUILD.py").write_text("from rules.basic import alias, filegroup\n" + "".join(lines))
        for number in range(5):
            (root / package / f"f{number}.c").write_text("")
    return [f"//{package}:{name}" for package, name in places]


def _expression(chance: random.Random, labels: list[str], depth: int) -> str:
    def one(deeper: int = 1) -> str:
        return _expression(chance, labels, depth - deeper)

    package = chance.choice(PACKAGES)
    if depth <= 0:
        wild = [f"//{package}:all", f"//{package}:*", f"//{package}/..." if package else "//...", "//..."]
        return chance.choice([*wild, *chance.sample(labels, 4)])
    forms: list[Callable[[], str]] = [
        lambda: f"deps({one()})",
        lambda: f"deps({one()}, {chance.randrange(4)})",
        lambda: f"rdeps({one()}, {one()})",
        lambda: f"rdeps(//..., {one()}, {chance.randrange(3)})",
        lambda: f"allpaths({one()}, {one()})",
        lambda: f"same_pkg_direct_rdeps({one()})",
        lambda: f'kind("{chance.choice(["filegroup", "alias rule", "^source", "e r"])}", {one()})',
        lambda: f'filter("{chance.choice([":t1$", "a.*t", "f[0-3]", "//c"])}", {one()})',
        lambda: f'attr(tags, "{chance.choice(["x", "[y]", "^.x, y.$"])}", {one()})',
        lambda: f'attr(srcs, "{chance.choice(["f1", "//a:t", "^..$"])}", {one()})',
        lambda: f"labels({chance.choice(['srcs', 'actual'])}, {one()})",
        lambda: f"siblings({one()})",
        lambda: f"buildfiles({one()})",
        lambda: f"visible({chance.choice(labels)}, {one()})",
        lambda: f"({one()} {chance.choice(['+', '-', '^', 'union', 'except', 'intersect'])} {one()})",
        lambda: f"{one()} {chance.choice('+-^')} {one()} {chance.choice('+-^')} {one(2)}",
        lambda: f"let v = {one()} in ($v {chance.choice('+-^')} {one()})",
        lambda: f"set({' '.join(chance.sample(labels, 3))})",
    ]
    return chance.choice(forms)()


@pytest.fixture(scope="module", params=[1, 2])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    root, store, output = (tmp_path_factory.mktemp(name) for name in ("workspace", "store", "bazel"))
    found = Both(root, _workspace(root, random.Random(request.param)), store, output)
    yield found
    subprocess.run([str(BAZEL), f"--output_user_root={output}", "shutdown"], cwd=root, capture_output=True, check=False)
    subprocess.run(["chmod", "-R", "u+w", str(output)], check=False)


def test_the_same_answers(both: Both) -> None:
    chance = random.Random(3)
    for _ in range(QUERIES):
        query = _expression(chance, both.labels, chance.randrange(1, 4))
        options = ["--output", chance.choice(["label", "label_kind", "package"])]
        assert sorted(both.hb(query, *options)) == sorted(both.bazel(query, *options)), query


def test_the_same_order(both: Both) -> None:
    for label in both.labels[::5]:
        query = f"deps({label} + //a/...)"
        for order in ("full", "auto"):
            options = ["--order_output", order]
            assert both.hb(query, *options) == (
                both.bazel(query, *options) if order == "full" else sorted_labels(both, query)
            )


def sorted_labels(both: Both, query: str) -> list[str]:
    """Bazel's answer by package, then by name."""
    return sorted(both.bazel(query), key=lambda label: label[2:].split(":", 1))


def test_the_same_ranks(both: Both) -> None:
    for label in both.labels[::4]:
        for output in ("minrank", "maxrank"):
            query = f"deps({label} + //c/...)"
            assert sorted(both.hb(query, "--output", output)) == sorted(both.bazel(query, "--output", output)), query
