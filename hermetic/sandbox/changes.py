"""The changes of an overlay root become a tree: deletions, owners, modes and meaningful attributes.

What a file of the base had beyond its content (owner, special mode) is kept when the file is changed
in place: on disk the base has one owner and two modes, so the overlay's copy knows nothing of it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from hermetic.digest import EMPTY, Digest
from hermetic.errors import ActionError
from hermetic.sandbox.bwrap import HIDDEN
from hermetic.store.ingest import checked_name, kind_name, store_file
from hermetic.store.protocols import BlobStore
from hermetic.tree import PLAIN, Directory, File, Meta, Subdir, Symlink, build, parts

XATTRS = ("security.capability",)
OPAQUE = ("user.overlay.opaque", "trusted.overlay.opaque")
# Staged files are 0444 or 0555, and so are their copies in an overlay: these say no more than that.
COPIED_FILE_MODES = (0o444, 0o555)
PLAIN_FILE_MODES = (*COPIED_FILE_MODES, 0o644, 0o755)
PLAIN_DIRECTORY_MODES = (0o555, 0o755)


@dataclass(slots=True)
class _Base:
    """The input root; ``None`` where it has nothing."""

    root: Digest
    store: BlobStore
    known: dict[Digest, Directory] = field(default_factory=dict)

    def get(self, path: str) -> File | Symlink | Meta | None:
        node: File | Symlink | Subdir = Subdir(self.root)
        for name in parts(path):
            if not isinstance(node, Subdir):
                return None
            found = self.directory(node.digest).entries.get(name)
            if found is None:
                return None
            node = found
        return self.directory(node.digest).meta if isinstance(node, Subdir) else node

    def directory(self, digest: Digest) -> Directory:
        if digest not in self.known:
            self.known[digest] = Directory.decode(self.store.read(digest))
        return self.known[digest]


@dataclass(slots=True)
class _Open:
    """A folder on the way. ``fresh``: it hides what the base has at its path."""

    fd: int
    path: str
    fresh: bool
    todo: list[str]


@dataclass(slots=True)
class _Changes:
    """The nodes of an overlay's upper folder, by path. The walk never recurses."""

    store: BlobStore
    base: _Base
    nodes: dict[str, File | Symlink | Meta] = field(default_factory=dict)

    def walk(self, upper: Path) -> None:
        stack = [_enter(os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), "", False)]
        stack[0].todo = [name for name in stack[0].todo if name not in HIDDEN]
        try:
            while stack:
                top = stack[-1]
                if not top.todo:
                    os.close(stack.pop().fd)
                    continue
                name = top.todo.pop()
                entered = self.visit(top, name, f"{top.path}/{name}" if top.path else name)
                if entered is not None:
                    stack.append(entered)
        finally:
            for one in stack:
                os.close(one.fd)

    def visit(self, top: _Open, name: str, path: str) -> _Open | None:
        found = os.stat(name, dir_fd=top.fd, follow_symlinks=False)
        mode = found.st_mode
        below = None if top.fresh else self.base.get(path)
        if stat.S_ISCHR(mode) and found.st_rdev == 0:
            self.nodes[path] = File(EMPTY, meta=Meta(whiteout=True))
        elif stat.S_ISDIR(mode):
            return self.folder(top, name, path, mode, below)
        elif stat.S_ISLNK(mode):
            self.nodes[path] = Symlink(checked_name(os.fsencode(os.readlink(name, dir_fd=top.fd)), path))
        elif stat.S_ISREG(mode):
            self.nodes[path] = self.file(top.fd, name, found, below)
        else:
            raise ActionError(f"/{path} is {kind_name(mode)}; a root may hold files, directories and links only")
        return None

    def folder(self, top: _Open, name: str, path: str, mode: int, below: File | Symlink | Meta | None) -> _Open:
        if mode & 0o700 != 0o700:
            os.chmod(name, 0o700 | stat.S_IMODE(mode), dir_fd=top.fd)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top.fd)
        try:
            permissions = stat.S_IMODE(mode)
            opaque = any(key in OPAQUE for key in os.listxattr(inner))
            had = below if isinstance(below, Meta) and not opaque else PLAIN
            kept = had.mode if permissions in PLAIN_DIRECTORY_MODES else permissions
            self.nodes[path] = replace(had, mode=kept, opaque=opaque)
            return _enter(inner, path, top.fresh or opaque or not isinstance(below, Meta))
        except BaseException:
            os.close(inner)
            raise

    def file(self, fd: int, name: str, found: os.stat_result, below: File | Symlink | Meta | None) -> File:
        permissions = stat.S_IMODE(found.st_mode)
        had = below.meta if isinstance(below, File) else PLAIN
        mode = None if permissions in PLAIN_FILE_MODES else permissions
        if permissions in COPIED_FILE_MODES:
            mode = had.mode
        xattrs = _xattrs(fd, name) if permissions & 0o400 else ()
        digest = store_file(name, fd, found, self.store, take=True)
        return File(digest, bool(permissions & 0o111), Meta(mode, had.uid, had.gid, xattrs))

    def own(self, path: str, uid: int, gid: int) -> None:
        """Apply one recorded chown; what did not change otherwise is taken from the base."""
        node = self.nodes.get(path)
        if node is None and not self.hidden(path):
            node = self.base.get(path)
        if node is None:
            return  # made and deleted again
        meta = node if isinstance(node, Meta) else node.meta
        if meta.whiteout:
            return
        meta = replace(meta, uid=meta.uid if uid < 0 else uid, gid=meta.gid if gid < 0 else gid)
        self.nodes[path] = meta if isinstance(node, Meta) else replace(node, meta=meta)

    def hidden(self, path: str) -> bool:
        """Whether a change above hides what the base has at this path."""
        above = (self.nodes.get(path[:end]) for end, char in enumerate(path) if char == "/")
        return any(node.opaque if isinstance(node, Meta) else node is not None for node in above)


def _enter(fd: int, path: str, fresh: bool) -> _Open:
    return _Open(fd, path, fresh, [checked_name(os.fsencode(raw), path or "/") for raw in os.listdir(fd)])


def _xattrs(fd: int, name: str) -> tuple[tuple[str, bytes], ...]:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
    try:
        names = [key for key in os.listxattr(handle) if key in XATTRS]
        return tuple((key, os.getxattr(handle, key)) for key in sorted(names))
    finally:
        os.close(handle)


def collect_changes(upper: Path, owners: tuple[tuple[str, int, int], ...], base: Digest, store: BlobStore) -> Digest:
    """The tree of what an overlay's upper folder changes, with whiteouts and recorded owners."""
    changes = _Changes(store, _Base(base, store))
    changes.walk(upper)
    for path, uid, gid in owners:
        inside = path.strip("/")
        if inside and inside.split("/")[0] not in HIDDEN:
            changes.own(inside, uid, gid)
    return build(changes.nodes, store.put)
