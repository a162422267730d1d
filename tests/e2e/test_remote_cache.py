"""Machines that share a remote cache: what one built, another never builds again."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

CHAIN = """
command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out/deep && cat a.txt > out/a && head -c 40000 /dev/zero > out/deep/zeros && echo said-a")
command(name="b", rootfs=":rootfs", srcs=["b.txt"], cmd="mkdir -p out && cat b.txt > out/b")
command(name="ab", rootfs=":rootfs", deps=[":a", ":b"], cmd="mkdir -p out && cat a/a b/b a/deep/zeros > out/ab")
"""


@dataclass
class Machine:
    """A checkout and a store of its own, and a home with its own key."""

    workspace: object
    home: Path
    url: str

    def hb(self, *words: str, **env: str):
        return self.workspace.hb(*words, "--remote-cache", self.url, env={"XDG_CONFIG_HOME": str(self.home), **env})

    def build(self, *words: str, **env: str):
        found = self.hb("build", "//:ab", "--json", *words, **env)
        assert found.code == 0, found.err
        return found


@pytest.fixture(params=["s3", "http", "grpc"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        server = request.getfixturevalue("s3")
        return server.url(server.bucket())
    if request.param == "http":
        return f"{request.getfixturevalue('http_cache').url}/{uuid.uuid4().hex}"
    return f"grpc://{request.getfixturevalue('casd')}"


@pytest.fixture
def http_url(http_cache) -> str:
    return f"{http_cache.url}/{uuid.uuid4().hex}"


@pytest.fixture
def machines(workspace, tmp_path: Path):
    """``machines(url, home)``: another checkout of one workspace, in another folder, with an empty store.
    Each test's workspace differs by a word, so that keys of other tests are others."""
    workspace.write("a.txt", f"one {uuid.uuid4().hex}\n")
    workspace.write("b.txt", "two\n")
    workspace.build_file(CHAIN)

    def make(url: str, home: str = "home") -> Machine:
        number = len(list(tmp_path.glob("m*")))
        root = tmp_path / f"m{number}" / "checkout"
        shutil.copytree(workspace.root, root, symlinks=True, ignore=shutil.ignore_patterns("hb-out", ".hb"))
        return Machine(type(workspace)(root, tmp_path / f"m{number}" / "store"), tmp_path / home, url)

    return make


def trust(machine: Machine, **policies: list[str]) -> None:
    lines = "\n".join(f"{name} = {keys!r}" for name, keys in policies.items())
    machine.workspace.write("pyproject.toml", f"[tool.hb]\n[tool.hb.trust]\n{lines}\n")


def keygen(machine: Machine, path: Path) -> str:
    done = machine.workspace.hb("cache", "keygen", "--output", str(path))
    assert done.code == 0, done.err
    return done.out.strip()


def test_a_second_machine_builds_nothing(machines, url: str) -> None:
    first, second = machines(url), machines(url)
    cold = first.build()
    assert cold.built == 3
    shared = second.build()
    assert shared.summary["outcomes"] == {"hit-remote": 3, "hit-local": 1} or shared.built == 0, shared.err
    assert shared.summary["outcomes"].get("hit-remote", 0) >= 3
    assert shared.target("//:ab")["digest"] == cold.target("//:ab")["digest"]
    one, other = (machine.workspace.root / "hb-out/ab/ab" for machine in (first, second))
    assert one.read_bytes() == other.read_bytes()
    assert second.build().summary["outcomes"].get("hit-remote", 0) == 0  # now it is here
