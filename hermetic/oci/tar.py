"""The tar of a layer, written byte for byte by us.

Guarantees: a tree has exactly one tar. Entries in byte order of names, parents before children,
deletions before their siblings; numeric owners with empty names; one constant integer mtime; ustar when a name, size
and owner fit, else PAX records in sorted order before a ustar header; identical files of 4 KiB and more
are hard links to the first of them in this order (``links``); extended attributes by allow-list only;
two zero blocks at the end and nothing after. Times, devices, user names and sparse maps never appear.

Sources: POSIX.1-2017 pax(1) interchange formats; OCI image specification, layer.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hermetic.digest import CHUNK, Digest
from hermetic.epoch import SOURCE_DATE_EPOCH
from hermetic.errors import ActionError
from hermetic.store.protocols import BlobStore
from hermetic.tree import Directory, File, Load, Symlink, walk

BLOCK = 512
END = bytes(2 * BLOCK)
LINK_FROM = 4096  # bytes; smaller twins are written twice, a header costs as much
XATTRS = ("security.capability", "user.")
OPAQUE = ".wh..wh..opq"
REGULAR, HARDLINK, SYMLINK, DIRECTORY, PAX = b"0", b"1", b"2", b"5", b"x"


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: ``name`` without a leading slash (directories end in one), content by digest."""

    name: str
    kind: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    content: Digest | None = None
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()


def entries(root: Digest, load: Load, *, links: bool = True, remove: Sequence[str] = ()) -> Iterator[Entry]:
    """The members of a tree's tar. ``remove``: absolute paths that lower layers lose."""
    yield from _removals(remove)
    first: dict[tuple[Digest, int, object], str] = {}
    for path, node in walk(root, load):
        if isinstance(node, Directory):
            yield from _directory(path, node)
        elif isinstance(node, Symlink):
            _refuse_whiteout_name(path)
            yield Entry(path, SYMLINK, 0o777, node.meta.uid, node.meta.gid, target=node.target)
        elif not node.meta.whiteout:
            _refuse_whiteout_name(path)
            twin = first.setdefault((node.digest, node.mode, node.meta), path) if links else path
            if twin != path and node.digest.size >= LINK_FROM:
                yield Entry(path, HARDLINK, node.mode, node.meta.uid, node.meta.gid, target=twin)
            else:
                yield _file(path, node)


def _removals(remove: Sequence[str]) -> Iterator[Entry]:
    for path in sorted({path.strip("/") for path in remove}, key=str.encode):
        folder, _, name = path.rpartition("/")
        yield Entry(f"{folder}/.wh.{name}" if folder else f".wh.{name}", REGULAR, 0o644)


def _directory(path: str, node: Directory) -> Iterator[Entry]:
    if path:
        _refuse_whiteout_name(path)
        yield Entry(f"{path}/", DIRECTORY, node.mode, node.meta.uid, node.meta.gid, xattrs=_allowed(node.meta.xattrs))
    prefix = f"{path}/" if path else ""
    if node.meta.opaque:
        yield Entry(f"{prefix}{OPAQUE}", REGULAR, 0o644)
    for name in sorted(node.entries, key=str.encode):
        child = node.entries[name]
        if isinstance(child, File) and child.meta.whiteout:
            yield Entry(f"{prefix}.wh.{name}", REGULAR, 0o644)


def _file(path: str, node: File) -> Entry:
    meta = node.meta
    return Entry(path, REGULAR, node.mode, meta.uid, meta.gid, node.digest, xattrs=_allowed(meta.xattrs))


def _allowed(xattrs: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    return tuple(sorted(pair for pair in xattrs if pair[0].startswith(XATTRS)))


def _refuse_whiteout_name(path: str) -> None:
    name = path.rpartition("/")[2]
    if name.startswith(".wh."):
        raise ActionError(
            f"{path} has a name that image layers use to delete files", hint="rename it, or use remove = [...]"
        )


def write(members: Iterator[Entry], store: BlobStore) -> Iterator[bytes]:
    """The tar in pieces of at most 1 MiB. ActionError when a path comes twice."""
    seen: set[str] = set()
    for entry in members:
        name = entry.name.rstrip("/")
        if name in seen:
            raise ActionError(f"the layer has {name} twice")
        seen.add(name)
        yield header(entry)
        if entry.content is not None and entry.content.size:
            yield from _content(entry.content, store)
    yield END


def _content(digest: Digest, store: BlobStore) -> Iterator[bytes]:
    with store.open(digest) as stream:
        left = digest.size
        while left:
            piece = stream.read(min(CHUNK, left))
            if not piece:
                raise ActionError(f"blob {digest} is shorter than its digest says")
            left -= len(piece)
            yield piece
    if padding := -digest.size % BLOCK:
        yield bytes(padding)


def header(entry: Entry) -> bytes:
    """The header blocks of a member: ustar, with a PAX header before it when ustar is too small."""
    size = entry.content.size if entry.content else 0
    records = {f"SCHILY.xattr.{name}": value for name, value in entry.xattrs}
    name, prefix = _split(entry.name)
    if name is None:
        records["path"] = entry.name.encode()
        name, prefix = _ascii(entry.name)[-100:], b""
    target = entry.target.encode()
    if len(target) > 100 or not entry.target.isascii():
        records["linkpath"] = target
        target = _ascii(entry.target)[:100]
    for field, value, limit in (("uid", entry.uid, 0o7777777), ("gid", entry.gid, 0o7777777)):
        if value > limit:
            records[field] = str(value).encode()
    if size > 0o77777777777:
        records["size"] = str(size).encode()
    block = _block(entry.kind, name, prefix, entry.mode, entry.uid, entry.gid, size, target)
    if not records:
        return block
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    pax = _block(PAX, b"././@PaxHeader", b"", 0o644, 0, 0, len(body), b"")
    return pax + body + bytes(-len(body) % BLOCK) + block


def _split(name: str) -> tuple[bytes, bytes] | tuple[None, bytes]:
    """ustar's name and prefix, or None when the name does not fit or is not ASCII."""
    raw = name.encode()
    if not name.isascii():
        return None, b""
    if len(raw) <= 100:
        return raw, b""
    for cut in range(min(155, len(raw) - 2), 0, -1):
        if raw[cut : cut + 1] == b"/" and 0 < len(raw) - cut - 1 <= 100:
            return raw[cut + 1 :], raw[:cut]
    return None, b""


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _record(key: str, value: bytes) -> bytes:
    """``<length> <key>=<value>\\n``; the length counts itself."""
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def _block(kind: bytes, name: bytes, prefix: bytes, mode: int, uid: int, gid: int, size: int, target: bytes) -> bytes:
    size = 0 if size > 0o77777777777 else size
    fields = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0" % (mode & 0o7777),
            b"%07o\0" % (uid if uid <= 0o7777777 else 0),
            b"%07o\0" % (gid if gid <= 0o7777777 else 0),
            b"%011o\0" % size,
            b"%011o\0" % SOURCE_DATE_EPOCH,
            b" " * 8,
            kind,
            target.ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"0000000\x000000000\0",
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]
