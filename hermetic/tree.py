"""File trees as Merkle trees of REAPI ``Directory`` messages.

Guarantees: one tree has exactly one encoding (entries sorted by name in code-point order, unique
across kinds, default metadata left out), so equal trees have equal digests on every machine.
Merging touches only the directories on the joined paths; everything else keeps its digest.

What REAPI's defaults cannot say rides in ``NodeProperties``: ``unix_mode`` when it is not the
default (0644 for a file, 0755 for an executable or a directory), and the properties ``uid``,
``gid``, ``xattr:<name>`` (base64), ``whiteout`` and ``opaque``. Modification times are never
recorded: every file hb stages or packs has the same one.

``uid`` and ``gid`` are data of the tree, not of the disk it was made on: a staged copy belongs to
whoever runs hb, a layer's tar has the recorded owner.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hermetic.digest import Digest
from hermetic.errors import ActionError, ArchiveError
from hermetic.proto import reapi_pb2 as pb

Load: TypeAlias = Callable[[Digest], bytes]  # blob by digest; raises when it is missing
Save: TypeAlias = Callable[[bytes], Digest]  # store a blob

DIR_MODE = 0o755
FILE_MODE = 0o644
EXEC_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Meta:
    """What a node carries beyond its content. ``mode`` None means the default of its kind."""

    mode: int | None = None
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    whiteout: bool = False  # this name is deleted from what lies below
    opaque: bool = False  # (directories) what lies below this directory is hidden


PLAIN = Meta()


@dataclass(frozen=True, slots=True)
class File:
    digest: Digest
    executable: bool = False
    meta: Meta = PLAIN

    @property
    def mode(self) -> int:
        return self.meta.mode if self.meta.mode is not None else EXEC_MODE if self.executable else FILE_MODE


@dataclass(frozen=True, slots=True)
class Symlink:
    target: str
    meta: Meta = PLAIN


@dataclass(frozen=True, slots=True)
class Subdir:
    """A directory held by digest only."""

    digest: Digest


Node: TypeAlias = File | Symlink | Subdir


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory: its entries by name, and its own metadata."""

    entries: Mapping[str, Node] = field(default_factory=dict)
    meta: Meta = PLAIN

    @property
    def mode(self) -> int:
        return self.meta.mode if self.meta.mode is not None else DIR_MODE

    def encode(self) -> bytes:
        """The canonical ``Directory`` message."""
        message = pb.Directory()
        for name in sorted(self.entries):
            check_name(name)
            node = self.entries[name]
            if isinstance(node, File):
                entry = message.files.add(name=name, is_executable=node.executable)
                entry.digest.hash, entry.digest.size_bytes = node.digest.hash, node.digest.size
                default = EXEC_MODE if node.executable else FILE_MODE
                _put_meta(entry, node.meta, default)
            elif isinstance(node, Symlink):
                _put_meta(message.symlinks.add(name=name, target=node.target), node.meta, 0o777)
            else:
                sub = message.directories.add(name=name)
                sub.digest.hash, sub.digest.size_bytes = node.digest.hash, node.digest.size
        _put_meta(message, self.meta, DIR_MODE)
        return message.SerializeToString(deterministic=True)

    @staticmethod
    def decode(data: bytes) -> Directory:
        """Read a ``Directory`` message; refuses bad names, duplicates and wrong order."""
        message = pb.Directory()
        try:
            message.ParseFromString(data)
        except Exception as error:  # protobuf's DecodeError has no common public base
            raise ArchiveError(f"not a Directory message: {error}") from error
        entries: dict[str, Node] = {}
        for group in (
            [(f.name, File(_digest(f.digest), f.is_executable, _get_meta(f))) for f in message.files],
            [(d.name, Subdir(_digest(d.digest))) for d in message.directories],
            [(s.name, Symlink(s.target, _get_meta(s))) for s in message.symlinks],
        ):
            last = ""
            for name, node in group:
                check_name(name)
                if name <= last or name in entries:
                    raise ArchiveError(f"Directory message has unsorted or repeated entry {name!r}")
                entries[name] = node
                last = name
        return Directory(entries, _get_meta(message))


def check_name(name: str) -> None:
    """A directory entry's name: not empty, ``.``, ``..``, no ``/`` and no NUL."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise ArchiveError(f"not a file name: {name!r}")


def _digest(message: pb.Digest) -> Digest:
    return Digest(message.hash, message.size_bytes)


def _put_meta(node: pb.FileNode | pb.SymlinkNode | pb.Directory, meta: Meta, default_mode: int) -> None:
    if meta == PLAIN:
        return
    props = node.node_properties
    pairs = [("gid", str(meta.gid))] if meta.gid else []
    if meta.opaque:
        pairs.append(("opaque", "1"))
    if meta.uid:
        pairs.append(("uid", str(meta.uid)))
    if meta.whiteout:
        pairs.append(("whiteout", "1"))
    pairs += [(f"xattr:{name}", base64.b64encode(value).decode()) for name, value in sorted(meta.xattrs)]
    for name, value in pairs:
        props.properties.add(name=name, value=value)
    if meta.mode is not None and meta.mode != default_mode:
        props.unix_mode.value = meta.mode
    if not pairs and not props.HasField("unix_mode"):
        node.ClearField("node_properties")


def _get_meta(node: pb.FileNode | pb.SymlinkNode | pb.Directory) -> Meta:
    if not node.HasField("node_properties"):
        return PLAIN
    props = node.node_properties
    values = {p.name: p.value for p in props.properties}
    return Meta(
        mode=props.unix_mode.value if props.HasField("unix_mode") else None,
        uid=int(values.get("uid", "0")),
        gid=int(values.get("gid", "0")),
        xattrs=tuple(
            (name[6:], base64.b64decode(value)) for name, value in sorted(values.items()) if name.startswith("xattr:")
        ),
        whiteout="whiteout" in values,
        opaque="opaque" in values,
    )


EMPTY_DIR = Directory()
EMPTY_TREE = Digest.of(EMPTY_DIR.encode())


def parts(path: str) -> tuple[str, ...]:
    """Split an absolute or relative POSIX path; refuses ``.`` and ``..`` components."""
    names = tuple(name for name in path.split("/") if name)
    for name in names:
        check_name(name)
    return names


def graft(path: str, node: Node, save: Save) -> Digest:
    """The root of a tree that holds ``node`` at ``path`` and nothing else. ``node`` must be a
    Subdir when path is ``/``."""
    names = parts(path)
    for name in reversed(names):
        node = Subdir(save(Directory({name: node}).encode()))
    if not isinstance(node, Subdir):
        raise ArchiveError(f"a file cannot be the root of a tree ({path!r})")
    return node.digest


def lookup(root: Digest, path: str, load: Load) -> Node | None:
    """The node at ``path`` without following symlinks, or None."""
    node: Node = Subdir(root)
    for name in parts(path):
        if not isinstance(node, Subdir):
            return None
        found = Directory.decode(load(node.digest)).entries.get(name)
        if found is None:
            return None
        node = found
    return node


def merge(roots: Iterable[Digest], load: Load, save: Save, *, replace_files: bool = False) -> Digest:
    """Union of trees, later ones on top.

    Two directories at one path are merged, the metadata of the lower one stays unless the upper
    one has its own. Two different files at one path are an ActionError naming the path, unless
    ``replace_files`` is set (the upper one wins). Whiteouts and opaque directories in an upper
    tree remove what lies below and are themselves gone from the result; those in a directory that
    only the upper tree has remove nothing and stay (see ``settled``), because nobody looks there.
    """
    result: Digest | None = None
    with depth_limit():
        for root in roots:
            result = root if result is None else _merge(result, root, "", load, save, replace_files)
    return result if result is not None else save(EMPTY_DIR.encode())


@contextmanager
def depth_limit() -> Iterator[None]:
    """For work that recurses: no path of Linux could name what lies deeper than Python goes."""
    try:
        yield
    except RecursionError:
        raise ActionError(
            "a tree is nested too deep to be worked on", hint="let its rule nest fewer than 900 directories"
        ) from None


def _merge(low: Digest, high: Digest, path: str, load: Load, save: Save, replace_files: bool) -> Digest:
    if low == high or high == EMPTY_TREE:
        return low
    if low == EMPTY_TREE:
        return high
    below, above = Directory.decode(load(low)), Directory.decode(load(high))
    entries: dict[str, Node] = {} if above.meta.opaque else dict(below.entries)
    for name, node in above.entries.items():
        meta = PLAIN if isinstance(node, Subdir) else node.meta
        old = entries.get(name)
        if meta.whiteout:
            entries.pop(name, None)
        elif old is None or old == node:
            entries[name] = node
        elif isinstance(old, Subdir) and isinstance(node, Subdir):
            entries[name] = Subdir(_merge(old.digest, node.digest, f"{path}/{name}", load, save, replace_files))
        elif replace_files:
            entries[name] = node
        else:
            raise ActionError(
                f"two inputs put different things at {path}/{name}",
                hint="let one of them own the path, or install one under another prefix",
            )
    meta = replace(above.meta, opaque=False)
    return save(Directory(entries, meta if meta != PLAIN else below.meta).encode())


def settled(root: Digest, load: Load, save: Save) -> Digest:
    """The tree without whiteouts and opaque marks, for which nothing lies below any more."""
    done: dict[Digest, Digest] = {}
    pending = [root]
    while pending:
        directory = Directory.decode(load(pending[-1]))
        inner = {node.digest for node in directory.entries.values() if isinstance(node, Subdir)}
        if waiting := inner - done.keys():
            pending += waiting
            continue
        entries = {
            name: Subdir(done[node.digest]) if isinstance(node, Subdir) else node
            for name, node in directory.entries.items()
            if isinstance(node, Subdir) or not node.meta.whiteout
        }
        new = Directory(entries, replace(directory.meta, opaque=False))
        digest = pending.pop()
        done[digest] = digest if new == directory else save(new.encode())
    return done[root]


def walk(root: Digest, load: Load) -> Iterable[tuple[str, File | Symlink | Directory]]:
    """Every node below ``root`` in byte order of names, parents before children, the root itself
    first with path ``""``. Paths have no leading slash. Directories appear decoded."""
    pending: list[tuple[str, Node]] = [("", Subdir(root))]
    while pending:  # no recursion: depth costs nothing
        path, node = pending.pop()
        if not isinstance(node, Subdir):
            yield path, node
            continue
        directory = Directory.decode(load(node.digest))
        yield path, directory
        for name in sorted(directory.entries, key=lambda n: n.encode("utf-8", "surrogateescape"), reverse=True):
            pending.append((f"{path}/{name}" if path else name, directory.entries[name]))


@dataclass(slots=True)
class Draft:
    """A directory while a tree is built."""

    meta: Meta = PLAIN
    entries: dict[str, File | Symlink | Draft] = field(default_factory=dict)


def build(nodes: Mapping[str, File | Symlink | Meta], save: Save) -> Digest:
    """Make a tree from a flat mapping of relative paths. A ``Meta`` value declares a directory;
    parents that are not declared get default metadata. ``""`` is the root directory."""

    top = Draft()
    for path in nodes:
        node = nodes[path]
        names = parts(path)
        draft = top
        for name in names[:-1] if not isinstance(node, Meta) else names:
            child = draft.entries.setdefault(name, Draft())
            if not isinstance(child, Draft):
                raise ArchiveError(f"{path!r} lies below {name!r}, which is not a directory")
            draft = child
        if isinstance(node, Meta):
            draft.meta = node
        elif not names or isinstance(draft.entries.get(names[-1]), Draft):
            raise ArchiveError(f"{path!r} is a file and a directory")
        else:
            draft.entries[names[-1]] = node

    order = [top]
    for draft in order:  # grows on the way: parents come before children, whatever the depth
        order += [child for child in draft.entries.values() if isinstance(child, Draft)]
    sealed: dict[int, Subdir] = {}
    for draft in reversed(order):
        done: dict[str, Node] = {
            name: sealed[id(child)] if isinstance(child, Draft) else child for name, child in draft.entries.items()
        }
        sealed[id(draft)] = Subdir(save(Directory(done, draft.meta).encode()))
    return sealed[id(top)].digest


def tree_message(root: Digest, load: Load) -> bytes:
    """The REAPI ``Tree`` message of a tree (root first, each distinct child once)."""
    message = pb.Tree()
    message.root.ParseFromString(load(root))
    seen: set[str] = set()
    pending = list(message.root.directories)
    while pending:
        ref = pending.pop()
        if ref.digest.hash in seen:
            continue
        seen.add(ref.digest.hash)
        child = message.children.add()
        child.ParseFromString(load(_digest(ref.digest)))
        pending.extend(child.directories)
    ordered = sorted(message.children, key=lambda c: c.SerializeToString(deterministic=True))
    del message.children[:]
    message.children.extend(ordered)
    return message.SerializeToString(deterministic=True)
