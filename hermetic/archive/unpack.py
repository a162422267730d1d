"""Archives become trees: the ``unpack`` operation and the functions others unpack with.

``unpack``: parameters are the fields of ``Options``; its one input is the archive, its output
``out`` the tree. Everything refused is an ArchiveError that names the archive and the member.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO, cast

from hermetic import tree
from hermetic.action import Kind
from hermetic.archive.codec import ChunkReader, Gauge, chunks, codec_of, refusal
from hermetic.archive.deb import MAGIC, deb_members
from hermetic.archive.member import Member
from hermetic.archive.tar import TarReader
from hermetic.archive.tree import Collector, Options
from hermetic.archive.zip import ZipReader
from hermetic.digest import Digest
from hermetic.errors import InternalError, UserError
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.protocols import BlobStore
from hermetic.tree import File, Meta, Symlink

FORMATS = ("auto", "tar", "zip", "deb", "single")
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


def unpack(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """The internal operation ``unpack``."""
    if len(inputs) != 1:
        raise InternalError(f"unpack takes one archive, not {len(inputs)}")
    (archive,) = inputs.values()
    options = Options.from_params(params)
    root = unpack_blob(archive.digest, options, bench.store)
    return {"out": Resolved(Kind.TREE, root)}


def unpack_blob(digest: Digest, options: Options, store: BlobStore, name: str = "") -> Digest:
    """Unpack a stored archive; the root of its tree. ``name`` is what errors call it."""
    with store.open(digest) as stream:
        return unpack_stream(stream, options, store, name or f"archive {digest.hash[:12]}")


def unpack_stream(stream: BinaryIO, options: Options, store: BlobStore, name: str) -> Digest:
    """Unpack a readable stream (seekable, for zip); the root of its tree."""
    return tree.build(read_archive(stream, options, store, name), store.put)


def read_archive(stream: BinaryIO, options: Options, store: BlobStore, name: str) -> dict[str, File | Symlink | Meta]:
    """Store the contents of an archive's files and return its names, as ``tree.build`` takes them."""
    if options.format not in FORMATS:
        raise UserError(f"no archive format {options.format!r}", hint=f"known are {', '.join(FORMATS)}")
    stream, format_ = _recognise(stream, options.format)
    if format_ == "deb":
        options = replace(options, rootfs=True)
    gauge = Gauge(name, options.limits)
    if format_ == "single":
        return _single(stream, options, store, gauge)
    collector = Collector(name, options, store)
    collector.add_all(_members(stream, format_, options, gauge))
    return collector.nodes()


def _recognise(stream: BinaryIO, wanted: str) -> tuple[BinaryIO, str]:
    """The format, by the first bytes, and the stream from its beginning."""
    if wanted != "auto":
        return stream, wanted
    head = stream.read(8)
    rest: BinaryIO = stream
    if stream.seekable():
        stream.seek(0)
    else:
        rest = cast(BinaryIO, io.BufferedReader(_Joined(head, stream)))
    return rest, "zip" if head[:4] in _ZIP_MAGIC else "deb" if head == MAGIC else "tar"


def _members(stream: BinaryIO, format_: str, options: Options, gauge: Gauge) -> Iterator[Member]:
    if format_ == "zip":
        yield from ZipReader(stream, gauge)
    elif format_ == "deb":
        for part, content in deb_members(stream, gauge.archive):
            if part.startswith(f"{options.part}."):
                yield from _tar(cast(BinaryIO, content), gauge)
    else:
        yield from _tar(stream, gauge)


def _tar(stream: BinaryIO, gauge: Gauge) -> Iterator[Member]:
    return iter(TarReader(ChunkReader(chunks(stream, gauge)), gauge.archive, gauge.limits))


def _single(stream: BinaryIO, options: Options, store: BlobStore, gauge: Gauge) -> dict[str, File | Symlink | Meta]:
    """One compressed file, which gets the name ``file_name``."""
    if not options.file_name:
        raise UserError("a single compressed file needs file_name, the name it gets in the tree")
    head = stream.read(10)
    if not codec_of(head):
        raise refusal(gauge.archive, "is not a file compressed by gzip, xz, bzip2 or zstd")
    whole = cast(BinaryIO, io.BufferedReader(_Joined(head, stream)))
    return {options.file_name: File(store.put_stream(cast(BinaryIO, ChunkReader(chunks(whole, gauge)))))}


class _Joined(io.RawIOBase):
    """A few bytes already read, and the rest of their stream."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
