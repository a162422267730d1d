"""Members of an archive become a tree of the store, by rules that leave nothing to chance.

Guarantees: nothing of an archive ever touches the disk under a name the archive chose. Contents go
to the blob store, names into a mapping that ``hermetic.tree.build`` turns into Directory messages.
So there is no path to escape from; what is refused here is refused because it would mean different
things to different tools, or would do harm later, when the tree is staged or becomes a layer:
``..``, absolute names, paths through links or files, links to what is not there, devices, names
that are not file names, things that are two kinds at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, BinaryIO, NoReturn, Protocol, TypeAlias

from hermetic.archive.codec import Limits, refusal
from hermetic.archive.member import Member, MemberKind
from hermetic.digest import EMPTY, Digest
from hermetic.errors import ArchiveError, UserError, did_you_mean
from hermetic.globs import Globs
from hermetic.tree import DIR_MODE, EXEC_MODE, FILE_MODE, PLAIN, File, Meta, Symlink

MAX_DEPTH = 256
MAX_PATH = 4095  # bytes, PATH_MAX without its NUL
MAX_NAME = 255
SMALL = 4 << 20  # bytes
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
KERNEL_DIRS = ("dev", "proc", "sys")


class Contents(Protocol):
    """Where the contents of files go: a blob store, or what only measures them."""

    def put(self, data: bytes) -> Digest: ...
    def put_stream(self, stream: BinaryIO) -> Digest: ...


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that no pattern asked for; its content was not stored."""


Entry: TypeAlias = File | Symlink | Meta | LeftOut


@dataclass(frozen=True, slots=True)
class Options:
    """How an archive is unpacked. The fields are the parameters of the ``unpack`` operation.

    ``format``: auto, tar, zip, deb or single (one compressed file, which gets ``file_name``).
    ``strip_prefix``: the directory that becomes the root; what lies beside it is left out.
    ``strip_components``: how many leading directories every name loses instead.
    ``include``, ``exclude``: globs over names after stripping. ``rootfs``: the archive is part of a root
    filesystem (a .deb, a layer): symlinks may point anywhere, /dev, /proc and /sys must not be links.
    ``whiteouts``: ``.wh.`` names mean deletion, as in OCI layers; otherwise they are refused.
    ``part``: which archive of a .deb, data or control.
    """

    format: str = "auto"
    strip_prefix: str = ""
    strip_components: int = 0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keep_owners: bool = False
    keep_modes: bool = False
    keep_xattrs: bool = False
    allow_absolute_symlinks: bool = False
    allow_absolute_paths: bool = False
    allow_duplicates: bool = False
    rootfs: bool = False
    whiteouts: bool = False
    part: str = "data"
    file_name: str = ""
    max_size: int = Limits().size
    max_members: int = Limits().members
    max_ratio: int = Limits().ratio

    @property
    def limits(self) -> Limits:
        return Limits(self.max_size, self.max_members, self.max_ratio)

    @staticmethod
    def from_params(params: Mapping[str, Any]) -> Options:
        """Check the names and types of parameters that came as JSON. Raises UserError."""
        known = {f.name: getattr(Options(), f.name) for f in fields(Options)}
        values: dict[str, Any] = {}
        for name, value in params.items():
            if name not in known:
                raise UserError(f"unpack has no parameter {name!r}", hint=did_you_mean(name, known))
            values[name] = tuple(value) if isinstance(known[name], tuple) and isinstance(value, list) else value
            if type(values[name]) is not type(known[name]):
                raise UserError(f"unpack: {name} must be {type(known[name]).__name__}, not {value!r}")
        return Options(**values)


@dataclass(slots=True)
class Collector:
    """Takes members one by one; ``entries`` is the archive as a flat mapping."""

    archive: str
    options: Options
    store: Contents
    entries: dict[str, Entry] = field(default_factory=dict)
    _parents: set[str] = field(default_factory=lambda: {""})  # every directory, declared or implied
    _include: Globs = field(init=False)
    _exclude: Globs = field(init=False)

    def __post_init__(self) -> None:
        self._include, self._exclude = Globs.of(self.options.include), Globs.of(self.options.exclude)

    def add_all(self, members: Iterable[Member]) -> None:
        for member in members:
            self.add(member)

    def add(self, member: Member) -> None:
        path = self._path(member.name, member.name)
        if member.kind in (MemberKind.DEVICE, MemberKind.FIFO):
            self._refuse(f"is a {member.kind}", member.name, "hb makes /dev itself; pack the archive without it")
        if member.xattrs and member.kind in (MemberKind.SYMLINK, MemberKind.HARDLINK):
            self._refuse("is a link with extended attributes", member.name)
        if not path and member.kind is not MemberKind.DIRECTORY:
            self._refuse(f"is a {member.kind} in place of the root directory", member.name)
        name = path.rpartition("/")[2]
        if name.startswith(WHITEOUT):
            self._whiteout(member, path, name)
        elif member.kind is MemberKind.DIRECTORY:
            self._directory(member, path)
        else:
            self._leaf(member, path)

    def _directory(self, member: Member, path: str) -> None:
        self._enter(path, member.name)
        old = self.entries.get(path)
        if old is not None and not isinstance(old, Meta):
            self._refuse("is a directory here and something else earlier", member.name)
        opaque = isinstance(old, Meta) and old.opaque
        self.entries[path] = replace(self._meta(member, DIR_MODE), opaque=opaque)
        self._parents.add(path)

    def _leaf(self, member: Member, path: str) -> None:
        self._enter(path, member.name)
        if path in self._parents:
            self._refuse(f"is a {member.kind} here and a directory earlier", member.name)
        if path in self.entries and not self.options.allow_duplicates:
            self._refuse("appears twice", member.name, "set allow_duplicates to let the last one win")
        if self.options.rootfs and path in KERNEL_DIRS:
            self._refuse(f"is a {member.kind} where a root filesystem has its /{path} directory", member.name)
        if member.kind is MemberKind.SYMLINK:
            self.entries[path] = self._symlink(member)
        elif member.kind is MemberKind.HARDLINK:
            self.entries[path] = self._hard_link(member)
        else:
            self.entries[path] = self._file(member, path)

    def _file(self, member: Member, path: str) -> Entry:
        if member.content is None:
            self._refuse("has no content", member.name)
        if self._taken(path) is None:
            return LeftOut()
        digest = self._stored(member.content, member.size)
        if digest.size != member.size:
            self._refuse(f"has {digest.size} bytes, and says it has {member.size}", member.name)
        executable = bool(member.mode & 0o111)
        return File(digest, executable, self._meta(member, EXEC_MODE if executable else FILE_MODE))

    def _stored(self, content: BinaryIO, size: int) -> Digest:
        """Small contents are hashed before they are written, so that those already there are not."""
        if size > SMALL:
            return self.store.put_stream(content)
        pieces = []
        while piece := content.read(SMALL):
            pieces.append(piece)
        return self.store.put(b"".join(pieces))

    def _symlink(self, member: Member) -> Symlink:
        if not member.target or "\0" in member.target or len(member.target.encode()) > MAX_PATH:
            self._refuse(f"is a symbolic link to the impossible target {member.target[:80]!r}", member.name)
        return Symlink(member.target, replace(self._meta(member, 0o777), mode=None))

    def _hard_link(self, member: Member) -> Entry:
        """The same file again. Only earlier files of this archive can be meant: a name that is not
        there yet would be looked for outside by tools that link on disk."""
        target = self._path(member.target, member.name)
        found = self.entries.get(target)
        if isinstance(found, Symlink):
            self._refuse(f"is a hard link to the symbolic link {member.target!r}", member.name)
        if isinstance(found, Meta) or target in self._parents:
            self._refuse(f"is a hard link to the directory {member.target!r}", member.name)
        if found is None or (isinstance(found, File) and found.meta.whiteout):
            self._refuse(f"is a hard link to {member.target!r}, which is not in the archive before it", member.name)
        return found

    def _whiteout(self, member: Member, path: str, name: str) -> None:
        if not self.options.whiteouts:
            self._refuse("has a name that image layers use to delete files (.wh.)", member.name)
        if member.kind is not MemberKind.FILE or member.size:
            self._refuse("is a whiteout that is not an empty file", member.name)
        self._enter(path, member.name)
        parent = path.rpartition("/")[0]
        if name == OPAQUE:
            old = self.entries.get(parent, PLAIN)
            self.entries[parent] = replace(old if isinstance(old, Meta) else PLAIN, opaque=True)
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", "..") or hidden.startswith(WHITEOUT):
            self._refuse("is a whiteout of nothing", member.name)
        target = f"{parent}/{hidden}" if parent else hidden
        if target in self.entries or target in self._parents:
            self._refuse(f"deletes {target!r}, which this archive also has", member.name)
        self.entries[target] = File(EMPTY, meta=Meta(whiteout=True))

    def _meta(self, member: Member, default: int) -> Meta:
        options = self.options
        mode = member.mode if options.keep_modes and member.mode != default else None
        owner = (member.uid, member.gid) if options.keep_owners else (0, 0)
        return Meta(mode, *owner, xattrs=member.xattrs if options.keep_xattrs else ())

    def _enter(self, path: str, member: str) -> None:
        """Every directory above ``path`` must be one, and becomes one if nothing said so yet."""
        parent = path.rpartition("/")[0]
        if parent in self._parents:
            return
        self._enter(parent, member)
        found = self.entries.get(parent)
        if found is not None and not isinstance(found, Meta):
            what = "the symbolic link" if isinstance(found, Symlink) else "the file"
            self._refuse(f"goes through {what} {parent!r}", member)
        self._parents.add(parent)

    def _path(self, name: str, member: str) -> str:
        """``name`` without ``.`` and empty components; "" is the root."""
        if not name or "\0" in name:
            self._refuse("has an impossible name", member)
        if name.startswith("/") and not self.options.allow_absolute_paths:
            self._refuse(f"has the absolute name {name!r}", member, "set allow_absolute_paths to take it as relative")
        names = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in names:
            self._refuse(f"has .. in the name {name!r}", member)
        if len(names) > MAX_DEPTH:
            self._refuse(f"lies more than {MAX_DEPTH} directories deep", member[:200])
        if len(name.encode()) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in names):
            self._refuse("has a name longer than file systems take", member[:200])
        return "/".join(names)

    def _taken(self, path: str) -> str | None:
        """``path`` after stripping, or None when the options leave it out."""
        stripped = strip(path, self.options)
        if not stripped:
            return stripped
        if (self.options.include and not self._include.covers(stripped)) or self._exclude.covers(stripped):
            return None
        return stripped

    def nodes(self) -> dict[str, File | Symlink | Meta]:
        """What ``hermetic.tree.build`` takes, after stripping and selecting."""
        result: dict[str, File | Symlink | Meta] = {}
        for path, entry in self.entries.items():
            inner = self._taken(path)
            if inner is None:
                continue
            if isinstance(entry, LeftOut):
                self._refuse("is a hard link to a file that was left out", path, "include the file it links to")
            if inner == "" and not isinstance(entry, Meta):
                if self.options.strip_components:
                    continue
                self._refuse("is a file where the stripped prefix should be a directory", path)
            if inner in result and not (isinstance(entry, Meta) and isinstance(result[inner], Meta)):
                self._refuse(f"becomes {inner!r} after stripping, like another member", path)
            result[inner] = entry
        if self.options.strip_prefix and not self._prefix_found():
            tops = sorted({path.split("/")[0] for path in self.entries if path})
            raise ArchiveError(
                f"{self.archive} has no directory {self.options.strip_prefix!r} to strip",
                hint=f"at its top it has {', '.join(tops[:5]) or 'nothing'}{', …' if len(tops) > 5 else ''}",
            )
        if not (self.options.allow_absolute_symlinks or self.options.rootfs):
            self._check_links(result)
        return result

    def _prefix_found(self) -> bool:
        return "/".join(name for name in self.options.strip_prefix.split("/") if name) in self._parents

    def _check_links(self, nodes: Mapping[str, File | Symlink | Meta]) -> None:
        for path, node in nodes.items():
            if isinstance(node, Symlink) and _leaves(path, node.target):
                self._refuse(
                    f"is a symbolic link to {node.target!r}, outside the tree",
                    path,
                    "set allow_absolute_symlinks if the tree will lie where that makes sense",
                )

    def _refuse(self, why: str, member: str, hint: str | None = None) -> NoReturn:
        raise refusal(self.archive, why, member, hint)


def strip(path: str, options: Options) -> str | None:
    """``path`` below the stripped prefix, None when it lies beside or above it."""
    if options.strip_prefix:
        prefix = "/".join(name for name in options.strip_prefix.split("/") if name)
        return "" if path == prefix else path[len(prefix) + 1 :] if path.startswith(prefix + "/") else None
    names = path.split("/") if path else []
    if options.strip_components and len(names) < options.strip_components:
        return None
    return "/".join(names[options.strip_components :])


def _leaves(path: str, target: str) -> bool:
    """Whether following ``target`` from the link at ``path`` would step above the tree's root."""
    if target.startswith("/"):
        return True
    depth = path.count("/")
    for name in target.split("/"):
        if name == "..":
            depth -= 1
        elif name not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False
