"""Compressors whose output is a function of the input, and the names of everything it depends on.

zstd: level 3, always with workers (their number does not change the bytes; having none would), no
checksum, no pledged size. gzip: ISA-L level 2 fed in pieces of exactly 1 MiB, with a header of our
own. ``describe`` says library, version and parameters; it is part of every layer's key.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from typing import Any, Protocol

from hermetic.digest import CHUNK
from hermetic.errors import BuildFileError, did_you_mean

ZSTD_LEVEL = 3
GZIP_LEVEL = 2
MEDIA_TYPES = {
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "none": "application/vnd.oci.image.layer.v1.tar",
}
# magic, deflate, no flags, no time, no extra flags, unknown operating system (RFC 1952)
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


def describe(params: str) -> str:
    """What a layer's bytes depend on besides its tree; ``params`` is the operation's JSON."""
    kind = json.loads(params).get("compression", "zstd")
    if kind == "zstd":
        import zstandard

        version = ".".join(map(str, zstandard.ZSTD_VERSION))
        return f"zstd-{version}-level{ZSTD_LEVEL}-workers"
    if kind == "gzip":
        import isal

        return f"isal-{isal.__version__}-level{GZIP_LEVEL}-1MiB"
    return "none"


def compressor(kind: str) -> Compressor:
    if kind == "zstd":
        import zstandard

        workers = max(len(os.sched_getaffinity(0)), 1)
        encoder = zstandard.ZstdCompressor(
            level=ZSTD_LEVEL, threads=workers, write_checksum=False, write_content_size=False
        )
        made: Compressor = encoder.compressobj()
        return made
    if kind == "gzip":
        return Gzip()
    if kind == "none":
        return Plain()
    raise BuildFileError(
        f"there is no compression {kind!r}", hint=did_you_mean(kind, MEDIA_TYPES) or "zstd, gzip or none"
    )


class Gzip:
    """One gzip member; input is gathered to pieces of 1 MiB, because the encoder's output depends
    on how it is fed."""

    def __init__(self) -> None:
        from isal import isal_zlib

        self._deflate = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, -15)
        self._crc = self._size = 0
        self._pending = bytearray()
        self._started = False

    def compress(self, data: bytes) -> bytes:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._pending += data
        out = bytearray(b"" if self._started else GZIP_HEADER)
        self._started = True
        while len(self._pending) >= CHUNK:
            out += self._deflate.compress(bytes(self._pending[:CHUNK]))
            del self._pending[:CHUNK]
        return bytes(out)

    def flush(self) -> bytes:
        head = b"" if self._started else GZIP_HEADER
        body = self._deflate.compress(bytes(self._pending)) + self._deflate.flush()
        return head + body + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


class Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def decompress(data_path: str, media_type: str) -> Any:
    """A readable stream of a layer blob's tar."""
    if media_type.endswith("+zstd"):
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(open(data_path, "rb"), closefd=True)
    if media_type.endswith("+gzip"):
        import gzip

        return gzip.open(data_path, "rb")
    return open(data_path, "rb")
