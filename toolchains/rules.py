"""Toolchain targets: a root filesystem, and what a rule has to know to use it."""

from __future__ import annotations

from collections.abc import Sequence

from hermetic.api import Context, Default, Dep, Input, Kind, Provider, Rule, declare
from rules.basic import merge_parts
from rules.providers import (
    CcToolchain,
    CudaToolkit,
    Files,
    Part,
    PythonToolchain,
    RustToolchain,
    Source,
    Wheels,
)
from rules.python import installed


class CcRoot(Rule):
    """gcc, make, autotools, cmake, meson, ninja. ``host`` differs from ``build`` for a
    cross compiler; ``prefix`` is what its tools' names begin with."""

    rootfs: Dep
    build: str
    host: str
    prefix: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:  # noqa: ARG002
        files = self.rootfs[Files]
        return [*self.rootfs.providers, CcToolchain(files.parts, self.build, self.host, self.prefix)]


class RustRoot(Rule):
    """rustc and cargo in ``rootfs``, with the programs of the wheels in ``tools`` (maturin) added
    below /usr/local."""

    rootfs: Dep
    tools: list[Dep] = []
    target: str
    linker: str

    def actions(self, ctx: Context) -> Sequence[Provider]:
        python = ctx.toolchain("python")[PythonToolchain]
        wheels = [wheel for dep in self.tools for wheel in dep[Wheels].wheels]
        parts = (*self.rootfs[Files].parts, *installed(ctx, wheels, "/usr/local", python))
        return [*self.rootfs.providers, RustToolchain(parts, self.target, self.linker)]


class PythonRoot(Rule):
    """The interpreter that runs tools (``installer`` must be importable), and the ``version`` of
    the interpreter that the images have."""

    rootfs: Dep
    version: str

    def actions(self, ctx: Context) -> Sequence[Provider]:  # noqa: ARG002
        files = self.rootfs[Files]
        return [*self.rootfs.providers, PythonToolchain(files.parts, f"/usr/bin/python{self.version}", self.version)]


class CudaHome(Rule):
    """A CUDA toolkit at ``home`` from the vendor's wheels: ``nvidia/<folder>`` of each, merged."""

    wheels: Dep
    major: int
    folder: str
    home: str = "/usr/local/cuda"
    has_nvcc: bool = True
    exclude: list[str] = []

    def actions(self, ctx: Context) -> Sequence[Provider]:
        parts = []
        for wheel in self.wheels[Wheels].wheels:
            params = {"format": "zip", "strip_prefix": f"nvidia/{self.folder}", "exclude": self.exclude}
            made = ctx.operate(
                "unpack", params, inputs=[Input("/archive", wheel.ref, name=wheel.filename)], outputs={"out": Kind.TREE}
            )
            parts.append(Part("/", made["out"]))
        merged = merge_parts(ctx, parts)
        links = ctx.operate("write", {"files": {"/lib64": {"symlink": "lib"}}}, inputs=[], outputs={"out": Kind.TREE})[
            "out"
        ]
        files = (Part(self.home, merged), Part(self.home, links))
        return [
            Default({"out": merged}),
            Files(files),
            Source(merged),
            CudaToolkit(self.home, self.major, self.has_nvcc),
        ]


cc_root = declare(CcRoot)
cuda_home = declare(CudaHome)
python_root = declare(PythonRoot)
rust_root = declare(RustRoot)
