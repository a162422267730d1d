"""Rust: vendored crates, maturin wheels, binaries.

Guarantees: every crate is pinned by the checksum in Cargo.lock and fetched by it; cargo runs
offline on the vendored tree; paths are remapped, so neither the source's nor the crates' place
is in the result.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hermetic.api import (
    BuildFileError,
    Context,
    Default,
    Dep,
    Inline,
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
from rules.launchers import CARGO
from rules.providers import (
    Crates,
    Files,
    Licence,
    Licences,
    Part,
    RustToolchain,
    Source,
    closure,
    mounted,
)
from rules.python import built_wheel

VENDOR = "/hb/vendor"


class CargoCrates(Rule):
    """The crates of a Cargo.lock, vendored for offline cargo.

    ``lock`` holds one line per crate, made by ``hb lock`` from the Cargo.lock inside ``sdist``
    (a python_sdist requirement) or from ``cargo_lock``, a file of the package; when that file changes
    the lock is stale.
    """

    lock: Lock
    sdist: str = ""
    cargo_lock: Src | None = None

    def actions(self, ctx: Context) -> Sequence[Provider]:
        text = ctx.read(self.cargo_lock) if self.cargo_lock else ""
        ctx.lockable("cargo", self.lock.path, {"sdist": self.sdist, "cargo_lock": text})
        inputs: list[Input] = []
        for name, version, sha256 in lock_entries(ctx.read(self.lock), 3, self.lock.path):
            made = ctx.fetch(
                "crate",
                {"sha256": sha256},
                outputs={"out": Kind.BLOB},
                unkeyed={"name": name, "version": version},
            )
            inputs.append(Input(f"/crates/{name}-{version}.crate", made["out"], name=f"{name} {version}"))
        if not inputs:
            raise BuildFileError(f"{self.lock.path} pins no crate", hint=f"run: hb lock {ctx.label}")
        tree = ctx.operate("vendor_crates", {}, inputs=inputs, outputs={"out": Kind.TREE})
        return [Default(tree), Crates(tree["out"])]


class CargoStep(Rule):
    """What maturin_wheel and cargo_binary share. ``manifest``: a Cargo.toml relative to
    the source, when what pyproject.toml (or the source's top) says is not meant."""

    src: Dep
    crates: Dep | None = None
    deps: list[Dep] = []
    manifest: str = ""
    features: list[str] = []
    env: dict[str, str] = {}
    licence: str = ""
    version: str = ""
    timeout: int = 3600

    def cargo_run(self, ctx: Context, rust: RustToolchain, commands: Sequence[str], out: str) -> Made:
        """Run shell ``commands`` in the source with cargo set up; returns the tree at ``out``."""
        vendored = self.crates[Crates].tree if self.crates else None
        script = "\n".join(
            [
                "set -euo pipefail",
                "mkdir -p $CARGO_HOME && cp /hb/cargo.toml $CARGO_HOME/config.toml",
                f"mkdir -p {out} && cd /build/src",
                *commands,
                "",
            ]
        )
        made = ctx.run(
            type(self).__name__,
            ["/bin/bash", "/hb/build.sh"],
            inputs=[
                *mounted(rust.root, "toolchain rust"),
                *mounted(closure(self.deps), "deps"),
                Input("/build/src", self.src[Source].tree, writable=True, name=str(self.src.label)),
                *([Input(VENDOR, vendored, name="crates")] if vendored else []),
                Input("/hb/build.sh", Inline(script), name="script"),
                Input("/hb/cargo.toml", Inline(cargo_config(rust, bool(vendored))), name="cargo configuration"),
            ],
            outputs={"out": (out, Kind.TREE)},
            env={
                "CARGO_HOME": "/build/cargo",
                "CARGO_NET_OFFLINE": "true",
                "CARGO_INCREMENTAL": "0",
                "CARGO_TARGET_DIR": "/build/target",
                "PYTHONHASHSEED": "0",
                "ZERO_AR_DATE": "1",
                **self.env,
            },
            timeout=self.timeout,
            launchers=CARGO,
        )
        return made["out"]

    def manifest_flag(self) -> list[str]:
        return ["--manifest-path", self.manifest] if self.manifest else []

    def licences(self) -> Licences:
        return Licences((Licence(self.name, self.version, self.licence),) if self.licence else ())


class MaturinWheel(CargoStep):
    """A Python extension in Rust, built by maturin into a wheel.

    ``abi3``: the wheel's stable ABI ("3.10") when the crate asks for one, needed to build for an
    architecture whose interpreter is not there. Without it the root's interpreter is the target.
    ``compatibility``: a platform tag such as "manylinux_2_39"; maturin's auditwheel then refuses a wheel that
    needs libraries or symbols the tag does not promise. "linux" promises nothing: a wheel for one image.
    """

    abi3: bool = False
    locked: bool = True
    compatibility: str = "linux"

    def actions(self, ctx: Context) -> Sequence[Provider]:
        rust = ctx.toolchain("rust")[RustToolchain]
        flags = ["--release", "--offline", "--target", rust.target, *self.manifest_flag()]
        flags += ["--locked"] if self.locked else []
        flags += ["--features", ",".join(self.features)] if self.features else []
        flags += [] if self.abi3 else ["--interpreter", "python3.13"]
        audit = "skip" if self.compatibility == "linux" else "check"
        flags += ["--compatibility", self.compatibility, "--auditwheel", audit]
        tree = self.cargo_run(ctx, rust, [f"maturin build {shlex.join(flags)} --out /build/dist"], "/build/dist")
        return [Default({"out": tree}), built_wheel(tree, self.name), self.licences()]


class CargoBinary(CargoStep):
    """Programs built by cargo, installed at ``prefix``/bin. ``bins``: their names."""

    bins: list[str]
    prefix: str = "/usr/local"

    def actions(self, ctx: Context) -> Sequence[Provider]:
        rust = ctx.toolchain("rust")[RustToolchain]
        select = [arg for name in self.bins for arg in ("--bin", name)]
        features = ["--features", ",".join(self.features)] if self.features else []
        common = ["--release", "--offline", "--target", rust.target]
        built = f"/build/target/{rust.target}/release"
        commands = [
            shlex.join(["cargo", "build", *common, *self.manifest_flag(), *select, *features]),
            f"mkdir -p /build/out{self.prefix}/bin",
            *[f"install -m 0755 {built}/{name} /build/out{self.prefix}/bin/{name}" for name in self.bins],
        ]
        tree = self.cargo_run(ctx, rust, commands, "/build/out")
        return [Default({"out": tree}), Files((Part("/", tree),)), self.licences()]


def cargo_config(rust: RustToolchain, vendored: bool) -> str:
    """cargo's configuration: the vendored source, the linker, and remapped paths."""
    remap = [
        "--remap-path-prefix=/build/src=/usr/src/hb",
        f"--remap-path-prefix={VENDOR}=/usr/src/crates",
        "--remap-path-prefix=/build/cargo=/usr/src/cargo",
        "--remap-path-prefix=/build/target=/usr/src/target",
    ]
    flags = ", ".join(f'"{flag}"' for flag in remap)
    lines = [f"[target.{rust.target}]", f'linker = "{rust.linker}"', f"rustflags = [{flags}]", "[profile.release]"]
    lines += ["strip = true", "[net]", "offline = true"]
    if vendored:
        lines += ["[source.crates-io]", 'replace-with = "vendored"', "[source.vendored]", f'directory = "{VENDOR}"']
    return "\n".join([*lines, ""])


cargo_binary = declare(CargoBinary)
cargo_crates = declare(CargoCrates)
maturin_wheel = declare(MaturinWheel)
