"""Building C and C++ projects: autotools, cmake, meson and plain make.

Guarantees: a project is built at ``/build/src`` in the root filesystem of the ``cc`` toolchain
plus what its deps install, and installed with DESTDIR, so the output is a tree rooted at ``/``
whose prefix is exactly the one compiled in. Reproducible by default: fixed paths, prefix maps, no
build-time dates, deterministic archives.

How many jobs make and ninja run is handed over by the scheduler and is no part of the action.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import ClassVar

from hermetic.api import Context, Default, Dep, Inline, Input, Kind, Provider, Rule, declare
from rules.launchers import BY_PATH, CMAKE
from rules.providers import CcToolchain, Files, Licence, Licences, Part, Prefix, Source, closure, licences_of, mounted

DEST = "/build/dest"
# -g0 keeps paths and line tables out; the prefix map covers __FILE__; the random seed covers
# the names gcc invents for anonymous namespaces.
REPRODUCIBLE = "-O2 -g0 -ffile-prefix-map=/build/src=/usr/src/hb -frandom-seed=hb"


class NativeBuild(Rule):
    """What the rules of this module share.

    ``flags`` go to the configure step, ``cross_flags`` too when the code is for another
    architecture, ``cxxflags`` to the C++ compiler. ``before`` and ``after`` are shell lines run in
    the source directory before configuring and after installing ($DESTDIR is set). ``prefix`` is
    where the files will live.
    """

    launchers: ClassVar[Mapping[str, str]] = BY_PATH  # how the build tool is told of a compile cache

    src: Dep
    deps: list[Dep] = []
    prefix: str
    flags: list[str] = []
    cross_flags: list[str] = []
    before: list[str] = []
    after: list[str] = []
    env: dict[str, str] = {}
    cxxflags: list[str] = []
    licence: str = ""
    version: str = ""
    timeout: int = 3600

    def steps(self, cc: CcToolchain) -> list[str]:
        """The shell lines that configure, build and install into $DESTDIR."""
        raise NotImplementedError

    def all_flags(self, cc: CcToolchain) -> str:
        return shlex.join([*self.flags, *(self.cross_flags if cc.cross else [])])

    def actions(self, ctx: Context) -> Sequence[Provider]:
        cc = ctx.toolchain("cc")[CcToolchain]
        script = "\n".join(["set -euo pipefail", "cd /build/src", *self.before, *self.steps(cc), *self.after, ""])
        made = ctx.run(
            type(self).__name__,
            ["/bin/bash", "/hb/build.sh"],
            inputs=[
                *mounted(cc.root, "toolchain cc"),
                *mounted(closure(self.deps), "deps"),
                Input("/build/src", self.src[Source].tree, writable=True, name=str(self.src.label)),
                Input("/hb/build.sh", Inline(script), name="script"),
                Input("/hb/cross.ini", Inline(meson_cross_file(cc)), name="cross file"),
            ],
            outputs={"out": (DEST, Kind.TREE)},
            env={
                **compiler_env(cc),
                **search_env(self.deps, cc),
                "CXXFLAGS": " ".join([REPRODUCIBLE, *self.cxxflags]),
                **self.env,
                "DESTDIR": DEST,
            },
            timeout=self.timeout,
            launchers=self.launchers,
        )
        files = Files((Part("/", made["out"]),), needs=closure(self.deps))
        own = (Licence(self.name, self.version, self.licence),) if self.licence else ()
        return [Default(made), files, Prefix(self.prefix), Licences((*own, *licences_of(self.deps)))]


class Autotools(NativeBuild):
    """``./configure && make && make install``. ``configure``: the script, relative to the source.
    ``autogen``: a command that makes it first. ``gnu``: it takes --build and --host."""

    configure: str = "./configure"
    autogen: str = ""
    gnu: bool = True
    make_flags: list[str] = []
    install_target: str = "install"

    def steps(self, cc: CcToolchain) -> list[str]:
        triples = f"--build={cc.build} --host={cc.host}" if self.gnu and cc.cross else ""
        extra = shlex.join(self.make_flags)
        return [
            *([self.autogen] if self.autogen else []),
            f"{self.configure} --prefix={self.prefix} {triples} {self.all_flags(cc)}",
            f"make {extra}",
            f"make {extra} {self.install_target}",
            # .la files hold build paths and nothing at run time reads them
            f"find {DEST} -name '*.la' -delete",
        ]


class Make(NativeBuild):
    """A project with a Makefile only. ``flags`` are passed to make."""

    install_target: str = "install"

    def steps(self, cc: CcToolchain) -> list[str]:
        flags = f"PREFIX={self.prefix} {self.all_flags(cc)}"
        return [f"make {flags}", f"make {flags} {self.install_target}"]


class Cmake(NativeBuild):
    """``cmake`` with the ninja generator. ``flags`` are -D options."""

    launchers: ClassVar[Mapping[str, str]] = CMAKE

    subdir: str = "."

    def steps(self, cc: CcToolchain) -> list[str]:
        system = "-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=" + cc.host.split("-")[0] if cc.cross else ""
        return [
            f"cmake -S {self.subdir} -B /build/b -G Ninja -DCMAKE_BUILD_TYPE=Release "
            f"-DCMAKE_INSTALL_PREFIX={self.prefix} -DCMAKE_INSTALL_LIBDIR=lib "
            f"-DCMAKE_SKIP_BUILD_RPATH=ON {system} {self.all_flags(cc)}",
            "cmake --build /build/b",
            "cmake --install /build/b --strip",
        ]


class Meson(NativeBuild):
    """``meson setup/compile/install``. ``flags`` are -D options."""

    subdir: str = "."

    def steps(self, cc: CcToolchain) -> list[str]:
        cross = "--cross-file=/hb/cross.ini" if cc.cross else ""
        return [
            f"meson setup /build/b {self.subdir} --prefix={self.prefix} --libdir=lib --buildtype=release "
            f"--wrap-mode=nodownload {cross} {self.all_flags(cc)}",
            "ninja ${NINJAFLAGS:-} -C /build/b",  # set where this ninja has to be told a number
            "meson install -C /build/b --no-rebuild --strip",
        ]


def compiler_env(cc: CcToolchain) -> dict[str, str]:
    """The compilers by name, and flags that keep the machine out of the result."""
    return {
        "CC": f"{cc.prefix}gcc",
        "CXX": f"{cc.prefix}g++",
        "AR": f"{cc.prefix}ar",
        "RANLIB": f"{cc.prefix}ranlib",
        "STRIP": f"{cc.prefix}strip",
        "CFLAGS": REPRODUCIBLE,
        "CXXFLAGS": REPRODUCIBLE,
        "ZERO_AR_DATE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def search_env(deps: Sequence[Dep], cc: CcToolchain) -> dict[str, str]:
    """Where pkg-config and the linker find what the deps installed."""
    prefixes = [dep[Prefix].prefix for dep in deps if Prefix in dep]
    found = [f"{prefix}/lib/pkgconfig" for prefix in ["/usr/local", *prefixes]]
    system = [f"/usr/lib/{cc.multiarch}/pkgconfig", "/usr/share/pkgconfig"]
    return {"PKG_CONFIG_LIBDIR": ":".join(dict.fromkeys([*found, *system]))}


def meson_cross_file(cc: CcToolchain) -> str:
    cpu = cc.host.split("-")[0]
    tools = ["c", "cpp", "ar", "strip"]
    names = [f"{cc.prefix}{tool}" for tool in ("gcc", "g++", "ar", "strip")]
    lines = [f"{tool} = '{name}'" for tool, name in zip(tools, names, strict=True)]
    return "\n".join(
        [
            "[binaries]",
            *lines,
            "pkg-config = 'pkg-config'",
            "[host_machine]",
            "system = 'linux'",
            f"cpu_family = '{cpu}'",
            f"cpu = '{cpu}'",
            "endian = 'little'",
            "",
        ]
    )


autotools = declare(Autotools)
cmake = declare(Cmake)
make = declare(Make)
meson = declare(Meson)
