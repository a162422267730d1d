"""The bubblewrap command line of a sandbox: which folders are mounted where, and with what rights.

The root is an overlay of the staged trees with a skeleton at the bottom that has every mount point.
A mount point is resolved through the trees' own symlinks first (``/lib`` may lead to ``usr/lib``), so
that the skeleton never hides one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.action import Kind, Root
from hermetic.bubblewrap import PROC, find_bwrap
from hermetic.epoch import SOURCE_DATE_EPOCH
from hermetic.errors import ActionError
from hermetic.sandbox.secrets import mounts as secret_mounts
from hermetic.sandbox.spec import JOBSERVER, SandboxSpec
from hermetic.secret import FOLDER

BUILD = "/build"
SHIMS = "/.hb"
HIDDEN = ("proc", "dev", "tmp", "build", ".hb")  # what a changed root's output never has
MAX_ROOTS = 48
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What maintainer scripts need to act as root of one user id; no capability reaches the host.
ROOT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID", "KILL", "SYS_CHROOT")


@dataclass(slots=True)
class Layout:
    """Folders of one run below ``work``, and where its outputs will be found."""

    work: Path
    outputs: dict[str, Path] = field(default_factory=dict)

    @property
    def tmp(self) -> Path:
        return self.folder("tmp")

    def folder(self, name: str) -> Path:
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def arguments(spec: SandboxSpec, layout: Layout, secrets: Mapping[str, int] | None = None) -> list[str]:
    """argv that runs ``spec``; makes the folders it mounts. ``secrets``: descriptors of their values, by name,
    that the process inherits. Raises ActionError for a bad spec."""
    if len(spec.roots) > MAX_ROOTS:
        raise ActionError(f"a root of {len(spec.roots)} trees is more than overlayfs stacks ({MAX_ROOTS})")
    build, tmp = layout.folder("build"), layout.tmp
    skeleton = Skeleton(layout.folder("skeleton"), spec.roots)
    for name in ("/proc", "/dev", "/tmp", BUILD):
        skeleton.directory(name)
    mounts: list[str] = [*PROC, "--dev", "/dev", "--bind", str(tmp), "/tmp", "--bind", str(build), BUILD]
    for number, mount in enumerate(spec.mounts):
        place = _mount_point(mount.path, mount.source.is_dir(), skeleton, build)
        if mount.writable:
            upper, side = layout.folder(f"upper/{number}"), layout.folder(f"side/{number}")
            mounts += ["--overlay-src", str(mount.source), "--overlay", str(upper), str(side), place]
        else:
            mounts += ["--ro-bind", str(mount.source), place]
    mounts += _output_mounts(spec, layout, skeleton, build)
    if secrets:
        mounts += secret_mounts(secrets, skeleton.directory(FOLDER))
    if spec.jobserver is not None:
        mounts += ["--bind", str(spec.jobserver), JOBSERVER]
    if spec.cwd.startswith(f"{BUILD}/"):
        (build / spec.cwd.removeprefix(f"{BUILD}/")).mkdir(parents=True, exist_ok=True)
    argv = [find_bwrap(), *_isolation(spec)]
    if spec.root is Root.OVERLAY:
        mounts += _shims(layout, skeleton)
    argv += _root(spec, layout, skeleton.folder)
    variables = [word for name, value in environment(spec).items() for word in ("--setenv", name, value)]
    return [*argv, *mounts, "--clearenv", *variables, "--chdir", spec.cwd, "--", *spec.argv]


def _isolation(spec: SandboxSpec) -> list[str]:
    argv = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--hostname", "hb"]
    argv += ["--uid", str(spec.uid), "--gid", str(spec.uid), "--cap-drop", "ALL", "--disable-userns"]
    if spec.root is Root.OVERLAY:
        argv += [word for name in ROOT_CAPABILITIES for word in ("--cap-add", f"CAP_{name}")]
    return argv


def _root(spec: SandboxSpec, layout: Layout, skeleton: Path) -> list[str]:
    argv = [word for root in (skeleton, *spec.roots) for word in ("--overlay-src", str(root))]
    if spec.root is Root.READONLY:
        return [*argv, "--ro-overlay", "/"]
    upper, side = layout.folder("upper/root"), layout.folder("side/root")
    upper.chmod(0o755)
    return [*argv, "--overlay", str(upper), str(side), "/"]


def _output_mounts(spec: SandboxSpec, layout: Layout, skeleton: Skeleton, build: Path) -> list[str]:
    argv: list[str] = []
    for number, output in enumerate(spec.outputs):
        if output.path == "/":
            layout.outputs[output.name] = layout.work / "upper" / "root"
        elif output.path.startswith(f"{BUILD}/"):
            place = build / output.path.removeprefix(f"{BUILD}/")
            (place if output.kind is Kind.TREE else place.parent).mkdir(parents=True, exist_ok=True)
            layout.outputs[output.name] = place
        elif spec.root is Root.OVERLAY:
            layout.outputs[output.name] = layout.work / "upper" / "root" / output.path.strip("/")
        elif output.kind is Kind.TREE:
            folder = layout.folder(f"out/{number}")
            argv += ["--bind", str(folder), skeleton.directory(output.path)]
            layout.outputs[output.name] = folder
        else:
            raise ActionError(
                f"the output file {output.path} does not lie below {BUILD}",
                hint=f"write it below {BUILD}, or declare its directory as a tree",
            )
    return argv


def _mount_point(path: str, directory: bool, skeleton: Skeleton, build: Path) -> str:
    if not path.startswith(f"{BUILD}/"):
        return skeleton.directory(path) if directory else skeleton.file(path)
    place = build / path.removeprefix(f"{BUILD}/")
    if directory:
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    return path


def _shims(layout: Layout, skeleton: Skeleton) -> list[str]:
    from hermetic.sandbox.owners import write_shims

    shims, record = layout.folder("shims"), layout.work / "owners"
    write_shims(shims)
    record.touch()
    (shims / "owners").touch()
    return ["--ro-bind", str(shims), skeleton.directory(SHIMS), "--bind", str(record), f"{SHIMS}/owners"]


def environment(spec: SandboxSpec) -> dict[str, str]:
    """Everything the command sees."""
    values = {
        "HOME": BUILD,
        "LC_ALL": "C.UTF-8",
        "PATH": PATH,
        "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
        "TMPDIR": "/tmp",
        "TZ": "UTC",
        **dict(spec.speed),
        **dict(spec.env),
    }
    if spec.root is Root.OVERLAY:
        values["PATH"] = f"{SHIMS}/bin:{values['PATH']}"
    return values


def provides(roots: Sequence[Path], path: str) -> bool:
    """Whether a root of these trees has something at ``path``, its own links followed."""
    inside = Skeleton(Path("/"), roots).resolve(path).lstrip("/")
    return any(os.path.lexists(root / inside) for root in roots)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """An almost empty tree with the mount points, which lies below all others."""

    folder: Path
    roots: Sequence[Path]

    def directory(self, path: str) -> str:
        inside = self.resolve(path)
        (self.folder / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return inside

    def file(self, path: str) -> str:
        inside = self.resolve(path)
        place = self.folder / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        return inside

    def resolve(self, path: str) -> str:
        """The path with the symlinks of the roots followed, as the sandbox will see it."""
        pending = [part for part in reversed(path.split("/")) if part]
        done: list[str] = []
        for _ in range(256):
            if not pending:
                return "/" + "/".join(done)
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            target = self._link("/".join([*done, part]))
            if target is None:
                done.append(part)
            else:
                done = [] if target.startswith("/") else done
                pending += reversed(target.split("/"))
        raise ActionError(f"{path} leads through too many symbolic links")

    def _link(self, path: str) -> str | None:
        for root in reversed(self.roots):
            place = root / path
            try:
                found = os.lstat(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return str(place.readlink()) if stat.S_ISLNK(found.st_mode) and _seen(root, place) else None
        return None


def _seen(root: Path, place: Path) -> bool:
    """False when ``root`` has a link on the way: the directory of a higher root hides it, and what lies
    where it leads is not of this root, perhaps not even of the sandbox."""
    return os.path.realpath(place.parent) == str(Path(os.path.realpath(root), place.parent.relative_to(root)))
