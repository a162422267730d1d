"""Python: locked wheels and sdists, wheels built from source, relocatable environments.

Guarantees: a wheel is installed by its own action, so changing one of 200 wheels costs one
installation; an environment is the Merkle union of those trees. No bytecode, RECORD sorted,
console scripts point at the environment's interpreter. Wheels are unpacked, never run, so an
environment for arm64 is made on amd64.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from hermetic.api import (
    BuildFileError,
    Context,
    Default,
    Dep,
    Input,
    Kind,
    Lock,
    Made,
    Provider,
    Rule,
    Src,
    declare,
    lock_entries,
)
from rules.basic import merge_parts
from rules.fetch import unpacked
from rules.launchers import BY_PATH
from rules.providers import (
    CcToolchain,
    Files,
    Part,
    PythonToolchain,
    Source,
    Wheel,
    Wheels,
    closure,
    mounted,
)
from rules.tools import tool

ARCH_TAGS = {"amd64": "x86_64", "arm64": "aarch64"}


def normal(name: str) -> str:
    """The normalised form of a distribution name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class PythonWheels(Rule):
    """Wheels pinned in ``lock`` (made by ``hb lock``), each fetched by hash.

    ``requirements`` are what the lock resolves; ``overrides`` replace what packages ask of one
    another; ``python`` and ``glibc`` say which wheels fit.
    """

    lock: Lock
    requirements: list[str] = []
    overrides: list[str] = []
    python: str = "3.13"
    glibc: str = "2_40"
    arches: list[str] = ["amd64", "arm64"]

    def actions(self, ctx: Context) -> Sequence[Provider]:
        spec = {
            "requirements": sorted(self.requirements),
            "overrides": sorted(self.overrides),
            "python": self.python,
            "glibc": self.glibc,
            "arches": sorted(self.arches),
        }
        ctx.lockable("python", self.lock.path, spec)
        arch = ctx.target_platform.arch
        if arch not in self.arches:
            raise BuildFileError(f"{ctx.label} is locked for {', '.join(self.arches)}, not for {arch}")
        wheels = [
            fetch_wheel(ctx, requirement, filename, sha256)
            for requirement, filename, sha256, fits in lock_entries(ctx.read(self.lock), 4, self.lock.path)
            if fits in ("any", arch)
        ]
        return [Wheels(tuple(wheels))]


class PythonSdist(Rule):
    """A source distribution pinned in ``lock``, unpacked."""

    lock: Lock
    requirement: str
    patches: list[Src] = []

    def actions(self, ctx: Context) -> Sequence[Provider]:
        ctx.lockable("python_sdist", self.lock.path, {"requirement": self.requirement})
        pins = [one for one in lock_entries(ctx.read(self.lock), 3, self.lock.path) if one[0] == self.requirement]
        if not pins:
            raise BuildFileError(f"{self.lock.path} does not pin {self.requirement}", hint=f"run: hb lock {ctx.label}")
        requirement, filename, sha256 = pins[0]
        name, _, version = requirement.partition("==")
        made = ctx.fetch(
            "python",
            {"sha256": sha256},
            outputs={"out": Kind.BLOB},
            unkeyed={"name": name, "version": version, "filename": filename, "kind": "sdist"},
        )
        stem = filename.removesuffix(".tar.gz").removesuffix(".zip")
        return unpacked(ctx, made["out"], filename, stem, self.patches, 1)


class PythonWheel(Rule):
    """A wheel built from a source tree by its own PEP 517 backend: no isolation, no network.

    ``build_wheels`` are the backend and its requirements, installed into the root's interpreter.
    """

    src: Dep
    deps: list[Dep] = []
    build_wheels: list[Dep] = []
    env: dict[str, str] = {}
    subdir: str = "."
    timeout: int = 3600

    def actions(self, ctx: Context) -> Sequence[Provider]:
        cc = ctx.toolchain("cc")[CcToolchain]
        python = ctx.toolchain("python")[PythonToolchain]
        backend = installed(ctx, [w for dep in self.build_wheels for w in dep[Wheels].wheels], "/hb/backend", python)
        made = ctx.run(
            "PythonWheel",
            [python.interpreter, "-I", "/hb/build_wheel.py", f"/build/src/{self.subdir}", "/build/dist"],
            inputs=[
                *mounted(cc.root, "toolchain cc"),
                *mounted(closure(self.deps), "deps"),
                *mounted(backend, "build backend"),
                Input("/build/src", self.src[Source].tree, writable=True, name=str(self.src.label)),
                Input("/hb/build_wheel.py", tool("build_wheel.py"), name="tool"),
            ],
            outputs={"out": ("/build/dist", Kind.TREE)},
            env={"CC": f"{cc.prefix}gcc", "PYTHONHASHSEED": "0", **self.env},
            timeout=self.timeout,
            launchers=BY_PATH,
        )
        return [Default(made), built_wheel(made["out"], self.name)]


class PythonEnvironment(Rule):
    """A relocatable virtual environment at ``path``, from the wheels of ``wheels``.

    ``only`` and ``without`` are globs on normalised distribution names; a later target of
    ``wheels`` replaces a distribution of an earlier one when ``replace`` names it. The
    ``base`` part (interpreter link, pyvenv.cfg) is left out with ``skeleton=False``, so that one
    environment can be split over several layers.
    """

    wheels: list[Dep]
    path: str = "/opt/dynamo/venv"
    only: list[str] = []
    without: list[str] = []
    replace: list[str] = []
    skeleton: bool = True
    interpreter: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        python = ctx.toolchain("python")[PythonToolchain]
        chosen = select_wheels(ctx, [dep[Wheels] for dep in self.wheels], self.only, self.without, self.replace)
        parts = installed(ctx, chosen, self.path, python)
        if self.skeleton:
            parts = [Part("/", venv_skeleton(ctx, self.path, python)), *parts]
        merged = merge_parts(ctx, parts)
        return [Default({"out": merged}), Files((Part("/", merged),)), Wheels(tuple(chosen))]


class Wheelhouse(Rule):
    """Wheel files, as files, at ``path``: what an image offers for installation elsewhere."""

    wheels: list[Dep]
    path: str = "/opt/dynamo/wheelhouse"
    only: list[str] = []

    def actions(self, ctx: Context) -> Sequence[Provider]:
        chosen = select_wheels(ctx, [dep[Wheels] for dep in self.wheels], self.only, [], [])
        entries = {f"/{wheel.filename}": {"input": f"/wheels/{wheel.filename}"} for wheel in chosen}
        made = ctx.operate(
            "write",
            {"files": entries},
            inputs=[Input(f"/wheels/{wheel.filename}", wheel.ref, name=wheel.filename) for wheel in chosen],
            outputs={"out": Kind.TREE},
        )
        return [Default(made), Files((Part(self.path, made["out"]),))]


def fetch_wheel(ctx: Context, requirement: str, filename: str, sha256: str) -> Wheel:
    name, _, version = requirement.partition("==")
    made = ctx.fetch(
        "python",
        {"sha256": sha256},
        outputs={"out": Kind.BLOB},
        unkeyed={"name": name, "version": version, "filename": filename, "kind": "wheel"},
    )
    return Wheel(normal(name), version, filename, made["out"])


def select_wheels(
    ctx: Context, sources: Sequence[Wheels], only: Sequence[str], without: Sequence[str], replace: Sequence[str]
) -> list[Wheel]:
    """The wheels to install, one per distribution, sorted by name."""
    chosen: dict[str, Wheel] = {}
    for wheel in (wheel for source in sources for wheel in source.wheels):
        if (only and not matches(wheel.name, only)) or matches(wheel.name, without):
            continue
        old = chosen.get(wheel.name)
        if old is not None and old != wheel and not matches(wheel.name, replace):
            raise BuildFileError(
                f"{ctx.label} would install {wheel.name} twice: {old.filename} and {wheel.filename}",
                hint=f'say which one counts: replace = ["{wheel.name}"] keeps the later',
            )
        chosen[wheel.name] = wheel
    return [chosen[name] for name in sorted(chosen)]


def matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def installed(ctx: Context, wheels: Sequence[Wheel], path: str, python: PythonToolchain) -> list[Part]:
    """Each wheel installed into the environment at ``path``, by an action of its own."""
    return [Part("/", install_wheel(ctx, wheel, path, python)) for wheel in wheels]


def install_wheel(ctx: Context, wheel: Wheel, path: str, python: PythonToolchain) -> Made:
    made = ctx.run(
        "InstallWheel",
        [python.interpreter, "-I", "/hb/install_wheel.py", f"/hb/{wheel.filename}", path, python.version],
        inputs=[
            *mounted(python.root, "toolchain python"),
            Input(f"/hb/{wheel.filename}", wheel.ref, name=wheel.filename),
            Input("/hb/install_wheel.py", tool("install_wheel.py"), name="tool"),
        ],
        outputs={"out": ("/build/out", Kind.TREE)},
        cwd="/build",
    )
    return made["out"]


def built_wheel(tree: Made, name: str) -> Wheels:
    """The one wheel in a build's output directory as a Wheels provider.

    The file's name is known only after the build (it holds version and tags), so the whole
    directory is what is passed on, and the installer takes the only wheel in it.
    """
    return Wheels((Wheel(normal(name), "", "built", tree),))


def venv_skeleton(ctx: Context, path: str, python: PythonToolchain) -> Made:
    """What ``python -m venv`` would make, without running it: links and pyvenv.cfg."""
    config = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python.version}\n"
    real = f"/usr/bin/python{python.version}"
    entries = {
        f"{path}/pyvenv.cfg": {"text": config},
        f"{path}/bin/python": {"symlink": real},
        f"{path}/bin/python3": {"symlink": "python"},
        f"{path}/bin/python{python.version}": {"symlink": "python"},
        f"{path}/bin/activate": {"text": ACTIVATE.format(path=path)},
    }
    made = ctx.operate("write", {"files": entries}, inputs=[], outputs={"out": Kind.TREE})
    return made["out"]


ACTIVATE = """\
# Source this file to put the environment first on PATH.
VIRTUAL_ENV={path}
export VIRTUAL_ENV
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH
"""

python_environment = declare(PythonEnvironment)
python_sdist = declare(PythonSdist)
python_wheel = declare(PythonWheel)
python_wheels = declare(PythonWheels)
wheelhouse = declare(Wheelhouse)
