"""What targets of these rules hand to one another.

``Files`` is the common currency: trees at absolute paths. Anything that installs something has it,
anything that builds a root filesystem or a layer takes it. A tree's paths are exact, because the
prefixes are compiled into the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hermetic.api import Input, Made, Provider, Ref, Target


@dataclass(frozen=True)
class Part:
    """A tree (or, with a file path, a blob) at an absolute path."""

    at: str
    ref: Ref


@dataclass(frozen=True)
class Files(Provider):
    """``parts``: what this target installs. ``needs``: what its dependencies install, which a
    build against it has to see too. ``env``: variables such a build gets."""

    parts: tuple[Part, ...]
    needs: tuple[Part, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    @property
    def closure(self) -> tuple[Part, ...]:
        return unique((*self.parts, *self.needs))


@dataclass(frozen=True)
class Prefix(Provider):
    """Where a project was configured to live, so that others find its .pc files."""

    prefix: str


@dataclass(frozen=True)
class Source(Provider):
    """An unpacked source tree, and the archive it came from when there is one."""

    tree: Ref
    archive: Ref | None = None
    archive_name: str = ""


@dataclass(frozen=True)
class Blob(Provider):
    """A single file."""

    ref: Ref
    name: str


@dataclass(frozen=True)
class Deb:
    """A Debian package: its name, architecture and unpacked members."""

    name: str
    arch: str
    data: Made
    control: Made


@dataclass(frozen=True)
class Debs(Provider):
    """Locked Debian packages of one installation, in lock order."""

    debs: tuple[Deb, ...]


@dataclass(frozen=True)
class Wheel:
    """A wheel: distribution name (normalised), version, file name, content."""

    name: str
    version: str
    filename: str
    ref: Ref


@dataclass(frozen=True)
class Wheels(Provider):
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True)
class Crates(Provider):
    """Vendored crates: a cargo directory source."""

    tree: Ref


@dataclass(frozen=True)
class Licence(Provider):
    """What a component is and under which licence (an SPDX expression) it comes."""

    component: str
    version: str
    spdx: str


@dataclass(frozen=True)
class Licences(Provider):
    """Licences of a target and of everything it is made from."""

    licences: tuple[Licence, ...]


@dataclass(frozen=True)
class CcToolchain(Provider):
    """A root filesystem with compilers and build tools.

    ``build`` and ``host`` are GNU triples: where tools run, and what they make code for.
    ``prefix`` goes before tool names (``aarch64-linux-gnu-`` or empty).
    """

    root: tuple[Part, ...]
    build: str
    host: str
    prefix: str = ""

    @property
    def cross(self) -> bool:
        return self.build != self.host

    @property
    def multiarch(self) -> str:
        """The library directory name Debian uses for the host architecture."""
        return self.host


@dataclass(frozen=True)
class RustToolchain(Provider):
    """A root filesystem with rustc, cargo, maturin, a linker for ``target`` and Python.

    ``target``: the Rust target triple. ``linker``: the C compiler that links for it.
    """

    root: tuple[Part, ...]
    target: str
    linker: str


@dataclass(frozen=True)
class PythonToolchain(Provider):
    """A root filesystem with the interpreter that runs tools (``interpreter`` is its path) and
    the version ("3.13") that the images' environments are made for."""

    root: tuple[Part, ...]
    interpreter: str
    version: str


@dataclass(frozen=True)
class CudaToolkit(Provider):
    """A CUDA toolkit at ``home``; ``has_nvcc`` is False when only the runtime can be had."""

    home: str
    major: int
    has_nvcc: bool


def unique(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Each part once, the first mention kept."""
    return tuple(dict.fromkeys(parts))


def closure(targets: Iterable[Target]) -> tuple[Part, ...]:
    """Everything the targets install and need, for a build against them."""
    return unique(part for target in targets for part in target[Files].closure)


def mounted(parts: Sequence[Part], name: str) -> list[Input]:
    """The parts as inputs; ``name`` is what key traces call them."""
    return [Input(part.at, part.ref, name=name) for part in parts]


def licences_of(targets: Iterable[Target]) -> tuple[Licence, ...]:
    found = (target.get(Licences) for target in targets)
    return tuple(dict.fromkeys(licence for one in found if one for licence in one.licences))
