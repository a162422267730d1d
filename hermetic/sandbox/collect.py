"""What a command left behind becomes artifacts, after its last process is dead.

Guarantees: nothing is followed out of the output; a missing output, one of the wrong kind, or one that
is a link, socket, pipe or device is an error that says which and what to do; the changes of an overlay
root become a tree with deletions, owners, modes and the extended attributes that mean something.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hermetic.action import Kind, Output
from hermetic.digest import EMPTY, Digest
from hermetic.errors import ActionError
from hermetic.sandbox.bwrap import HIDDEN
from hermetic.sandbox.spec import SandboxResult
from hermetic.store.ingest import checked_name, ingest_file, ingest_tree, kind_name, store_file
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore
from hermetic.tree import PLAIN, File, Meta, Symlink, build, lookup

XATTRS = ("security.capability",)
OPAQUE = ("user.overlay.opaque", "trusted.overlay.opaque")
# Staged files are 0444 or 0555, and so are their copies in an overlay: these say no more than that.
PLAIN_FILE_MODES = {0o444: 0o644, 0o555: 0o755, 0o644: 0o644, 0o755: 0o755}


def collect(
    outputs: tuple[Output, ...], result: SandboxResult, base: Digest, store: BlobStore
) -> Mapping[str, Resolved]:
    """The outputs by name. ``base``: the input root, which an overlay's changes refer to."""
    return {output.name: _collect(output, result, base, store) for output in outputs}


def _collect(output: Output, result: SandboxResult, base: Digest, store: BlobStore) -> Resolved:
    path = result.outputs[output.name]
    if output.path == "/":
        return Resolved(Kind.TREE, collect_changes(path, result.owners, base, store))
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ActionError(
            f"the command did not make its output {output.path}", hint="look at its log, or declare what it does make"
        ) from None
    wanted = stat.S_ISDIR if output.kind is Kind.TREE else stat.S_ISREG
    if not wanted(found.st_mode):
        noun = "a directory" if output.kind is Kind.TREE else "a regular file"
        raise ActionError(
            f"the output {output.path} is {kind_name(found.st_mode)}, but it is declared as {noun}",
            hint="make the command leave what is declared, or declare what it leaves",
        )
    if output.kind is Kind.TREE:
        try:
            return Resolved(Kind.TREE, ingest_tree(path, store, take=True))
        except ActionError as error:
            raise ActionError(f"in the output {output.path}: {error.message}", hint=error.hint) from None
    node = ingest_file(path, store, take=True)
    return Resolved(Kind.BLOB, node.digest, node.executable)


@dataclass(slots=True)
class _Changes:
    """The nodes of an overlay's upper folder, by path."""

    store: BlobStore
    nodes: dict[str, File | Symlink | Meta] = field(default_factory=dict)

    def walk(self, fd: int, folder: str) -> None:
        for raw in sorted(os.listdir(fd)):
            name = checked_name(os.fsencode(raw), folder or "/")
            if not folder and name in HIDDEN:
                continue
            self.visit(fd, name, f"{folder}/{name}" if folder else name)

    def visit(self, fd: int, name: str, path: str) -> None:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        mode = found.st_mode
        if stat.S_ISCHR(mode) and found.st_rdev == 0:
            self.nodes[path] = File(EMPTY, meta=Meta(whiteout=True))
        elif stat.S_ISDIR(mode):
            if mode & 0o500 != 0o500:
                os.chmod(name, 0o700 | stat.S_IMODE(mode), dir_fd=fd)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                permissions = stat.S_IMODE(mode)
                plain = permissions in (0o755, 0o555)
                opaque = any(key in OPAQUE for key in os.listxattr(inner))
                self.nodes[path] = Meta(mode=None if plain else permissions, opaque=opaque)
                self.walk(inner, path)
            finally:
                os.close(inner)
        elif stat.S_ISLNK(mode):
            self.nodes[path] = Symlink(checked_name(os.fsencode(os.readlink(name, dir_fd=fd)), path))
        elif stat.S_ISREG(mode):
            self.nodes[path] = self.file(fd, name, found)
        else:
            raise ActionError(f"/{path} is {kind_name(mode)}; a root may hold files, directories and links only")

    def file(self, fd: int, name: str, found: os.stat_result) -> File:
        permissions = stat.S_IMODE(found.st_mode)
        known = PLAIN_FILE_MODES.get(permissions)
        executable = bool(permissions & 0o111)
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd) if permissions & 0o400 else -1
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if handle >= 0:
            names = [key for key in os.listxattr(handle) if key in XATTRS]
            xattrs = tuple((key, os.getxattr(handle, key)) for key in sorted(names))
            os.close(handle)
        digest = store_file(name, fd, found, self.store, take=True)
        meta = Meta(mode=None if known else permissions, xattrs=xattrs)
        return File(digest, executable, meta if meta != PLAIN else PLAIN)

    def own(self, path: str, uid: int, gid: int, base: Digest) -> None:
        """Apply one recorded chown; a file that did not change otherwise is taken from the base."""
        node = self.nodes.get(path)
        if node is None:
            below = lookup(base, path, self.store.read)
            if below is None:
                return  # made and deleted again, or below a hidden folder
            node = below if isinstance(below, File | Symlink) else Meta()
        meta = node if isinstance(node, Meta) else node.meta
        meta = replace(meta, uid=meta.uid if uid < 0 else uid, gid=meta.gid if gid < 0 else gid)
        if isinstance(node, Meta):
            self.nodes[path] = meta
        else:
            self.nodes[path] = replace(node, meta=meta)


def collect_changes(upper: Path, owners: tuple[tuple[str, int, int], ...], base: Digest, store: BlobStore) -> Digest:
    """The tree of what an overlay's upper folder changes, with whiteouts and recorded owners."""
    changes = _Changes(store)
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        changes.walk(fd, "")
    finally:
        os.close(fd)
    for path, uid, gid in owners:
        inside = path.strip("/")
        if inside and inside.split("/")[0] not in HIDDEN:
            changes.own(inside, uid, gid, base)
    return build(changes.nodes, store.put)
