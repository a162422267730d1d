"""Debian: locked packages, source archives, root filesystems.

Guarantees: a root filesystem is a pure function of its lock. Each package is unpacked by its own
action, the union is Merkle work, and configuring (maintainer scripts) runs in the sandbox on an
overlay whose changes are the result, so neither the machine's dpkg nor its users matter. For an
architecture that cannot run here packages are unpacked only.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    Root,
    Rule,
    Src,
    declare,
    did_you_mean,
    lock_entries,
)
from rules.basic import merge_parts, picked
from rules.fetch import unpacked
from rules.providers import Deb, Debs, Files, Part, closure
from rules.tools import tool


class DebianPackages(Rule):
    """Packages of ``suites`` with everything they depend on, pinned in ``lock``.

    ``packages`` may name another architecture (``libc6:arm64``). ``essential`` adds what every
    Debian system has. ``arches``: for which architectures the lock is made; each is a resolution
    of its own.
    """

    lock: Lock
    packages: list[str]
    suites: list[str] = ["trixie"]
    arches: list[str] = ["amd64", "arm64"]
    essential: bool = True
    closed: bool = True

    def actions(self, ctx: Context) -> Sequence[Provider]:
        spec = {
            "packages": sorted(self.packages),
            "suites": list(self.suites),
            "arches": sorted(self.arches),
            "essential": self.essential,
            "closed": self.closed,
        }
        ctx.lockable("debian", self.lock.path, spec)
        arch = ctx.target_platform.arch
        if arch not in self.arches:
            raise BuildFileError(f"{ctx.label} is locked for {', '.join(self.arches)}, not for {arch}")
        debs = []
        for name, version, deb_arch, sha256, size, filename, roots in lock_entries(
            ctx.read(self.lock), 7, self.lock.path
        ):
            if arch in roots.split(","):
                debs.append(fetch_deb(ctx, name, version, deb_arch, sha256, size, filename))
        return [Debs(tuple(debs))]


class DebianSource(Rule):
    """The upstream archive of a Debian source package, pinned in ``lock``, unpacked.

    Only the upstream archive is used: Debian's own changes are not applied.
    """

    lock: Lock
    package: str
    suite: str = "trixie"
    strip_prefix: str = "*"
    patches: list[Src] = []

    def actions(self, ctx: Context) -> Sequence[Provider]:
        ctx.lockable("debian_source", self.lock.path, {"package": self.package, "suite": self.suite})
        found = [one for one in lock_entries(ctx.read(self.lock), 6, self.lock.path) if one[0] == self.package]
        if not found:
            raise BuildFileError(f"{self.lock.path} does not pin {self.package}", hint=f"run: hb lock {ctx.label}")
        name, version, file, sha256, size, filename = found[0]
        made = ctx.fetch(
            "debian",
            {"sha256": sha256},
            outputs={"out": Kind.BLOB},
            unkeyed={"package": name, "version": version, "filename": filename, "size": int(size), "arch": "source"},
        )
        return unpacked(ctx, made["out"], file, self.strip_prefix, self.patches, 1)


class DebianRootfs(Rule):
    """A root filesystem from packages: unpacked, then configured when this machine can run it.

    ``configure``: "auto" runs the maintainer scripts when target and exec architecture are the
    same, "never" leaves the packages unpacked. ``exclude``: globs of paths to leave out.
    """

    packages: list[Dep]
    configure: str = "auto"
    exclude: list[str] = []
    extra: list[Dep] = []

    def actions(self, ctx: Context) -> Sequence[Provider]:
        debs = list(dict.fromkeys(deb for dep in self.packages for deb in dep[Debs].debs))
        native = ctx.target_platform.arch == ctx.exec_platform.arch
        runs = native and self.configure == "auto"
        arch = ctx.target_platform.arch
        tree = unpacked_rootfs(ctx, debs, arch, "unpacked" if runs else "installed")
        if runs:
            tree = configured_rootfs(ctx, tree)
        if self.exclude:
            tree = without(ctx, tree, self.exclude)
        parts = (Part("/", tree), *closure(self.extra))
        return [Default({"out": merge_parts(ctx, parts) if self.extra else tree}), Files(parts)]


class DebianFiles(Rule):
    """Single files of packages, without a package database: ``files`` maps the path they get to
    the path they have in ``package``."""

    packages: Dep
    package: str
    files: dict[str, str]

    def actions(self, ctx: Context) -> Sequence[Provider]:
        found = [deb for deb in self.packages[Debs].debs if deb.name == self.package]
        if not found:
            names = [deb.name for deb in self.packages[Debs].debs]
            raise BuildFileError(
                f"{self.packages.label} has no package {self.package!r}", hint=did_you_mean(self.package, names)
            )
        made = picked(ctx, found[0].data, self.files)
        return [Default({"out": made}), Files((Part("/", made),))]


def fetch_deb(ctx: Context, name: str, version: str, arch: str, sha256: str, size: str, filename: str) -> Deb:
    blob = ctx.fetch(
        "debian",
        {"sha256": sha256},
        outputs={"out": Kind.BLOB},
        unkeyed={"package": name, "version": version, "filename": filename, "size": int(size), "arch": arch},
    )
    made = ctx.operate(
        "deb",
        {},
        inputs=[Input("/deb", blob["out"], name=f"{name} {version} {arch}")],
        outputs={"data": Kind.TREE, "control": Kind.TREE},
    )
    return Deb(name, arch, made["data"], made["control"])


def without(ctx: Context, tree: Made, exclude: Sequence[str]) -> Made:
    """The tree without what the globs cover; copyright files always stay. Left out only now, because
    maintainer scripts look for what their packages brought."""

    def subset(**params: list[str]) -> Made:
        return ctx.operate("subset", params, inputs=[Input("/tree", tree)], outputs={"out": Kind.TREE})["out"]

    kept = [subset(exclude=sorted(exclude)), subset(include=["usr/share/doc/*/copyright"])]
    inputs = [Input(f"/{index}", one) for index, one in enumerate(kept)]
    return ctx.operate("merge", {}, inputs=inputs, outputs={"out": Kind.TREE})["out"]


def unpacked_rootfs(ctx: Context, debs: Sequence[Deb], arch: str, state: str) -> Made:
    """All packages merged, with a dpkg database saying they are unpacked (or installed)."""
    inputs = []
    for index, deb in enumerate(debs):
        inputs += [Input(f"/data/{index:04d}", deb.data), Input(f"/control/{index:04d}", deb.control)]
    params = {"arch": arch, "state": state}
    return ctx.operate("rootfs", params, inputs=inputs, outputs={"out": Kind.TREE})["out"]


def configured_rootfs(ctx: Context, tree: Made) -> Made:
    """The maintainer scripts' changes, applied to the unpacked tree."""
    changes = ctx.run(
        "ConfigureDebian",
        ["/bin/sh", "/hb/configure.sh"],
        inputs=[
            Input("/", tree, name="unpacked packages"),
            Input("/hb/configure.sh", tool("debian_configure.sh"), name="tool"),
        ],
        outputs={"changes": ("/", Kind.TREE)},
        env={"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true"},
        cwd="/",
        root=Root.OVERLAY,
        uid=0,
    )
    return ctx.operate(
        "merge",
        {"replace": True},
        inputs=[Input("/0000", tree), Input("/0001", changes["changes"])],
        outputs={"out": Kind.TREE},
    )["out"]


debian_files = declare(DebianFiles)
debian_packages = declare(DebianPackages)
debian_rootfs = declare(DebianRootfs)
debian_source = declare(DebianSource)
