"""Four real builds at once, in real sandboxes: two makes, a ninja and a cargo, from sources made here.

The root filesystem is the machine's own tools, linked and read-only: what is measured is who runs when, not
what is built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.action import Action, ActionGraph, Input, Kind, Made, Mode, Output, TargetNode
from hermetic.digest import Digest
from hermetic.errors import Location
from hermetic.execution.executor import Executor, Options
from hermetic.execution.outcome import Silent
from hermetic.execution.runner import Runner
from hermetic.execution.schedule import Budget
from hermetic.execution.schedule_machine import Machine
from hermetic.execution.sources import Sources
from hermetic.execution.state import Earlier
from hermetic.sandbox.cgroup import Groups
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.sandbox.spec import Ending, Mount, SandboxSpec
from hermetic.store.disk import DiskStore
from hermetic.store.filestate import FileStates
from hermetic.store.ingest import ingest_tree
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage

SAMPLE = 0.01  # seconds
COMMANDS = {
    "make1": "make -s && cp *.o /build/out",
    "make2": "make -s && cp *.o /build/out",
    "ninja": "ninja ${NINJAFLAGS:-} > /dev/null && cp *.o /build/out",
    "cargo": "cargo build -q --release --offline && cp target/release/last /build/out",
}
MEMORY = 4 << 30


def missing() -> str:
    """What this machine lacks."""
    return " ".join(name for name in ("make", "ninja", "gcc", "rustc", "cargo") if shutil.which(name) is None)


def make_sources(top: Path, size: int) -> dict[str, Path]:
    """Folder by step. ``size``: C files of each."""
    found = {}
    for name in COMMANDS:
        found[name] = folder = top / name
        folder.mkdir(parents=True)
        if name == "cargo":
            make_crates(folder, size // 3)
            continue
        objects = []
        for number in range(size):
            body = "".join(f"double f{number}_{n}(double *a, int n) {{ double s = {n}; for (int i = 0; i < n; i++) "
                           f"{{ a[i] = a[i] * s + {number}; s += a[i] / (i + 1.5); }} return s; }}\n" for n in range(120))  # fmt: skip
            (folder / f"c{number}.c").write_text(body)
            objects.append(f"c{number}.o")
        (folder / "Makefile").write_text(f"all: {' '.join(objects)}\n%.o: %.c\n\tgcc -O2 -c $< -o $@\n")
        edges = "".join(f"build {one}: cc {one[:-2]}.c\n" for one in objects)
        (folder / "build.ninja").write_text("rule cc\n  command = gcc -O2 -c $in -o $out\n" + edges)
    return found


def make_crates(folder: Path, count: int) -> None:
    """A workspace of crates that only the last one needs."""
    names = [f"part{number}" for number in range(count)]
    members = ", ".join(f'"{name}"' for name in (*names, "last"))
    (folder / "Cargo.toml").write_text(f'[workspace]\nresolver = "2"\nmembers = [{members}]\n')
    functions = "".join(f"pub fn f{n}(v: &mut Vec<f64>) -> f64 {{ v.sort_by(|a, b| (a * {n}.5).total_cmp(b)); "
                        f"v.iter().map(|x| x.sin() * {n}.0).sum() }}\n" for n in range(3))  # fmt: skip
    for name in names:
        write_crate(folder / name, name, "lib.rs", functions)
    uses = "".join(f"    t += {name}::f1(&mut v);\n" for name in names)
    main = f'fn main() {{\n    let mut v = vec![1.0, 2.0];\n    let mut t = 0.0;\n{uses}    println!("{{t}}");\n}}\n'
    write_crate(folder / "last", "last", "main.rs", main, names)


def write_crate(folder: Path, name: str, file: str, text: str, needs: list[str] | None = None) -> None:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / file).write_text(text)
    lines = "".join(f'{need} = {{ path = "../{need}" }}\n' for need in needs or ())
    (folder / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\n{lines}'
    )


def make_root(top: Path) -> None:
    """A root filesystem of hard links to this machine's compilers and libraries."""

    def link(source: str | Path, place: str) -> None:
        target = top / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_dir():
            subprocess.run(["cp", "-al", str(source), str(target)], check=True)

    triple = said("gcc", "-print-multiarch")
    for folder in ("bin", "lib64", "include", "lib/gcc", f"lib/{triple}"):
        link(f"/usr/{folder}", f"usr/{folder}")
    link("/etc/alternatives", "etc/alternatives")
    rust = said("rustc", "--print", "sysroot")
    for folder in ("bin", "lib"):
        link(f"{rust}/{folder}", f"usr/local/{folder}")
    for folder in ("bin", "lib", "lib64"):
        (top / folder).symlink_to(f"usr/{folder}")


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


class HostStage(DiskStage):
    """That root where a root filesystem is asked for."""

    digest: Digest
    root: Path

    def tree(self, digest: Digest) -> Path:
        return self.root if digest == self.digest else super().tree(digest)


@dataclass
class Runnable:
    """How many threads of sandboxes run or wait for a CPU, looked at a hundred times a second. ``worst``: what
    they were called when they were most."""

    groups: Groups
    counts: list[int] = field(default_factory=list)
    worst: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _watch(self) -> None:
        assert self.groups.memory is not None
        while not self._ended.wait(SAMPLE):
            pids: set[str] = set()
            for folder in self.groups.memory.glob(f"hb-{os.getpid()}-*"):
                pids.update((folder / "cgroup.procs").read_text().split())
            names = [name for pid in pids - {str(os.getpid())} for name in running(pid)]
            self.worst = max(self.worst, names, key=len)
            self.counts.append(len(names))


def running(pid: str) -> list[str]:
    """The names of a process's threads that would run if they could."""
    found = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            name, _, rest = Path(f"/proc/{pid}/task/{thread}/stat").read_text().partition("(")[2].rpartition(")")
            if rest.split()[0] == "R":
                found.append(name)
    return found


class MixedLoad:
    """The four steps in a store of their own."""

    def __init__(self, base: Path, size: int) -> None:
        self.base = base
        self.sources = make_sources(base / "src", size)
        self.store = DiskStore(base / "store")
        self.stage = HostStage(self.store)
        self.stage.root, empty = base / "root", base / "empty"
        make_root(self.stage.root)
        empty.mkdir()
        self.stage.digest = ingest_tree(empty, self.store)
        self.trees = {name: ingest_tree(folder, self.store) for name, folder in self.sources.items()}
        self.groups = Groups.find()
        self.cpus = len(os.sched_getaffinity(0))
        self.env = (("CARGO_HOME", "/build/cargo"),)
        self._count = 0

    def with_hb(self, runnable: Runnable | None = None) -> None:
        """As hb runs them."""
        self._count += 1
        scratch = self.base / f"scratch{self._count}"
        scratch.mkdir()
        refs = {name: Made(f"src-{name}", "o", Kind.TREE) for name in COMMANDS}
        actions = {
            name: Action(
                name, f"//:{name}", "Build", Location("B", 1), Mode.COMMAND, ("/bin/bash", "-c", command),
                (Output("out", "/build/out", Kind.TREE),),
                (Input("/", Made("root", "o", Kind.TREE)), Input("/build/src", refs[name], writable=True)),
                env=(*self.env, ("ROUND", str(self._count))), cwd="/build/src",
            )
            for name, command in COMMANDS.items()
        }  # fmt: skip
        known = {(ref.action, "o"): Resolved(Kind.TREE, self.trees[name]) for name, ref in refs.items()}
        known["root", "o"] = Resolved(Kind.TREE, self.stage.digest)
        wanted = tuple((name, Made(name, "out", Kind.TREE)) for name in actions)
        node = TargetNode("all", "//:all", "", Location("", 0), (), (), (), wanted)
        runner = Runner(
            self.store, self.store, self.stage, NamespaceSandbox(self.groups),
            Sources(self.base, self.store, FileStates(self.base / "files.db")), scratch, self.store.root / "derived",
            threading.Event(),
        )  # fmt: skip
        machine = Machine(Budget(self.cpus, MEMORY), fifos=scratch)
        executor = Executor(
            ActionGraph(actions, {"all": node}, ("all",)), runner, lambda *_: [], Silent(), Options(self.cpus),
            Earlier(known), machine,
        )  # fmt: skip
        try:
            if runnable is None:
                result = executor.run("mixed")
            else:
                with runnable.watched():
                    result = executor.run("mixed")
        finally:
            machine.close()
        assert not result.failures, [(one.error, one.tail) for one in result.failures]

    def with_fixed(self, jobs: int) -> None:
        """All four at once in the same sandboxes, each with ``-j JOBS`` of its own."""
        self._count += 1
        endings: dict[str, tuple[Ending, int]] = {}

        def one(name: str) -> None:
            work = self.base / f"fixed{self._count}-{name}"
            work.mkdir()
            words = (("MAKEFLAGS", f"-j{jobs}"), ("NINJAFLAGS", f"-j{jobs}"), ("CARGO_BUILD_JOBS", str(jobs)))
            spec = SandboxSpec(
                argv=("/bin/bash", "-c", COMMANDS[name]), roots=(self.stage.root,), speed=words, env=self.env, cwd="/build/src",
                mounts=(Mount(self.stage.tree(self.trees[name]), "/build/src", writable=True),),
                outputs=(Output("out", "/build/out", Kind.TREE),),
            )  # fmt: skip
            done = NamespaceSandbox(self.groups).run(spec, work, threading.Event())
            endings[name] = done.ending, done.exit_code
            subprocess.run(["rm", "-rf", str(work)], check=True)

        threads = [threading.Thread(target=one, args=(name,)) for name in COMMANDS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(endings.values()) == {(Ending.EXITED, 0)}, endings

    def close(self) -> None:
        self.groups.close()
