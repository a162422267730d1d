"""A workspace of a few files, and hb as people run it: the launcher, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cache_servers import new_url

ROOT = Path(__file__).parents[2]

RULES = '''
"""A rule for tests: a shell command in a root filesystem that is a file of the machine."""

from hermetic.api import Context, Default, Dep, Input, Kind, Provider, Root, Rule, Src, SourceFile, SourceTree, declare
from rules.providers import Files, Part, Source
from collections.abc import Sequence


class Command(Rule):
    cmd: str
    srcs: list[Src] = []
    deps: list[Dep] = []
    rootfs: Dep
    outs: dict[str, str] = {}
    kind: str = "tree"
    timeout: int = 60
    modify: bool = False
    is_test: bool = False
    secrets: list[str] = []
    secret_generation: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        tree = self.rootfs[Source].tree
        inputs = [Input("/", tree, name="rootfs")]
        inputs += [Input("/build/" + src.path.rpartition("/")[2], src) for src in self.srcs]
        inputs += [Input("/build/" + dep.label.name, dep[Source].tree) for dep in self.deps]
        kind = Kind.TREE if self.kind == "tree" else Kind.BLOB
        outputs = {"changes": ("/", Kind.TREE)} if self.modify else {"out": ("/build/out", kind)}
        made = ctx.run(
            "Command", ["/bin/bash", "-c", self.cmd], inputs=inputs, outputs=outputs, timeout=self.timeout,
            root=Root.OVERLAY if self.modify else Root.READONLY, uid=0 if self.modify else 1000, test=self.is_test,
            secrets=self.secrets, secret_generation=self.secret_generation,
        )
        ref = next(iter(made.values()))
        return [Default(made, layout="tree" if ref.kind is Kind.TREE else "blob"), Source(ref), Files((Part("/", ref),))]


class TestCommand(Command):
    test = True


command = declare(Command)
test_command = declare(TestCommand)
'''

BUILD = """
from rules.fetch import local_source
from toolchains.shell import command, test_command

local_source(name="rootfs", srcs=glob(["rootfs/**"]), strip_prefix="rootfs")
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict:
        return json.loads(self.out.splitlines()[-1])["summary"]

    @property
    def built(self) -> int:
        return self.summary["outcomes"].get("built", 0)

    def target(self, label: str) -> dict:
        return next(row for line in self.out.splitlines() if (row := json.loads(line)).get("label") == label)


@dataclass
class Workspace:
    """A workspace with its store. ``build`` adds targets to what every workspace has."""

    root: Path
    store: Path

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def build_file(self, text: str) -> None:
        self.write("BUILD.py", BUILD + text)

    def hb(self, *words: str, env: dict[str, str] | None = None) -> Result:
        done = subprocess.run(
            [str(ROOT / "hb"), *words],
            cwd=self.root,
            env={**os.environ, "HB_STORE": str(self.store), **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)


def make_workspace(root: Path, store: Path, rootfs: Path) -> Workspace:
    """The rules of the checkout, a rule for tests, and a root filesystem linked in."""
    root.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[tool.hb]\n[tool.hb.config.fast]\nspeed = "fast"\n')
    subprocess.run(["cp", "-r", str(ROOT / "rules"), str(ROOT / "toolchains"), str(root)], check=True)
    for path in (root / "toolchains").iterdir():
        if path.name not in ("__init__.py", "rules.py"):
            subprocess.run(["rm", "-r", str(path)], check=True)
    (root / "toolchains" / "shell.py").write_text(RULES)
    subprocess.run(["cp", "-a", str(rootfs), str(root / "rootfs")], check=True)
    workspace = Workspace(root, store)
    workspace.build_file("")
    return workspace


@pytest.fixture(scope="session")
def new_workspace() -> Callable[[Path, Path, Path], Workspace]:
    """``new_workspace(root, store, rootfs)``: for those that need more than one, or another root filesystem."""
    return make_workspace


@pytest.fixture
def workspace(tmp_path: Path, small_rootfs: Path) -> Workspace:
    return make_workspace(tmp_path / "ws", tmp_path / "store", small_rootfs)


@pytest.fixture(scope="session")
def small_rootfs(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root filesystem without Python: a few dozen files. Links are files here: globs see no
    linked folders."""
    top = tmp_path_factory.mktemp("small")
    for name in ("bin", "lib", "lib64"):
        subprocess.run(
            f"cp -rL --no-preserve=mode {rootfs}/{name} {top}/{name}; chmod -R +x {top}/{name}", shell=True, check=False
        )
    subprocess.run(f"rm -rf {top}/bin/python3* {top}/lib/python3*", shell=True, check=True)
    (top / "etc").mkdir()
    (top / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1234:77::/home/alice:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")
    return top


CHAIN = """
command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out/deep && cat a.txt > out/a && head -c 40000 /dev/zero > out/deep/zeros && echo said-a")
command(name="b", rootfs=":rootfs", srcs=["b.txt"], cmd="mkdir -p out && cat b.txt > out/b")
command(name="ab", rootfs=":rootfs", deps=[":a", ":b"], cmd="mkdir -p out && cat a/a b/b a/deep/zeros > out/ab")
"""


@dataclass
class Machine:
    """A checkout and a store of its own, and a home with its own key."""

    workspace: Workspace
    home: Path
    url: str

    def hb(self, *words: str, **env: str):
        return self.workspace.hb(*words, "--remote-cache", self.url, env={"XDG_CONFIG_HOME": str(self.home), **env})

    def build(self, *words: str, **env: str):
        found = self.hb("build", "//:ab", "--json", *words, **env)
        assert found.code == 0, found.err
        return found


@pytest.fixture
def machines(workspace, tmp_path: Path):
    """``machines(url, home)``: another checkout of one workspace, in another folder, with an empty store.
    Each test's workspace differs by a word, so that keys of other tests are others."""
    workspace.write("a.txt", f"one {uuid.uuid4().hex}\n")
    workspace.write("b.txt", f"two {uuid.uuid4().hex}\n")
    workspace.build_file(CHAIN)

    def make(url: str, home: str = "home") -> Machine:
        number = len(list(tmp_path.glob("m*")))
        root = tmp_path / f"m{number}" / "checkout"
        shutil.copytree(workspace.root, root, symlinks=True, ignore=shutil.ignore_patterns("hb-out", ".hb"))
        return Machine(type(workspace)(root, tmp_path / f"m{number}" / "store"), tmp_path / home, url)

    return make


@pytest.fixture
def http_url(request: pytest.FixtureRequest) -> str:
    return new_url(request, "http")


@pytest.fixture
def another_user(tmp_path: Path):
    """``another_user(workspace, *words)``: hb as the user 65534, who has no home."""
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")

    def run(workspace: Workspace, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        for folder in (workspace.root, *workspace.root.parents):
            if str(folder).startswith(str(tmp_path.parents[2])):
                folder.chmod(folder.stat().st_mode | 0o055)
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        program = [str(readable_python(workspace, tmp_path)), "-s", "-m", "hermetic.cli.main"]
        env = {"PYTHONPATH": str(ROOT), "HB_STORE": str(workspace.store), "HOME": "/nonexistent", **env}
        return subprocess.run(
            [*become, *program, *words],
            cwd=workspace.root,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def readable_python(workspace, tmp_path: Path) -> Path:
    """hb's environment where any user can read it; skips where no Python of the system can use it."""
    text = workspace.hb("info").out
    venv = Path(next(line.split()[1] for line in text.splitlines() if line.startswith("python"))).parents[1]
    (found,) = venv.glob("lib/python3.*/site-packages")
    system = Path("/usr/bin/python3")
    if not system.exists() or system.resolve().name != found.parent.name:
        pytest.skip("the system's Python is of another version")
    heavy = shutil.ignore_patterns("uv*", "pip*", "setuptools*", "boto*", "__pycache__")
    new = tmp_path / "venv"
    subprocess.run([str(system), "-m", "venv", "--without-pip", str(new)], check=True)
    shutil.copytree(found, new / "lib" / found.parent.name / "site-packages", ignore=heavy, dirs_exist_ok=True)
    return new / "bin/python"
