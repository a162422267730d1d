"""Decompression that cannot be tricked: gzip, xz, bzip2 and zstd as bounded streams of chunks.

Guarantees: a stream that ends early, carries a wrong checksum or is followed by anything but
another member is an ArchiveError; memory stays bounded whatever the input claims (zstd windows over
128 MiB are refused, every step gives at most a few MiB); output stops at the size and ratio limits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from hermetic.errors import ArchiveError

STEP = 1 << 20
ZSTD_WINDOW = 128 << 20  # bytes; what the zstd command line accepts without --long
LZMA_MEMORY = 512 << 20
RATIO_FLOOR = 64 << 20  # bytes of output before the ratio is looked at


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may grow to. ``ratio`` is unpacked to packed size, checked past 64 MiB."""

    size: int = 64 << 30
    members: int = 2_000_000
    ratio: int = 250


def refusal(archive: str, why: str, member: str | None = None, hint: str | None = None) -> ArchiveError:
    where = f"{archive}: member {member!r}" if member is not None else archive
    return ArchiveError(f"{where}: {why}", hint=hint)


BROKEN = "fetch it again, and if it is the same then, pin a sound copy of it"
BOMB = "if the archive is trusted, raise max_size, max_ratio or max_members where it is unpacked"


class Gauge:
    """Counts packed and unpacked bytes of one archive and stops a bomb."""

    def __init__(self, archive: str, limits: Limits) -> None:
        self.archive, self.limits = archive, limits
        self.packed = self.unpacked = 0

    def add(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.limits.size:
            raise refusal(self.archive, f"unpacks to more than {self.limits.size} bytes", hint=BOMB)
        if self.unpacked > RATIO_FLOOR and self.unpacked > self.packed * self.limits.ratio:
            raise refusal(self.archive, f"unpacks to more than {self.limits.ratio} times its size", hint=BOMB)


class _Source:
    """The packed bytes with push-back, counted."""

    def __init__(self, stream: BinaryIO, gauge: Gauge) -> None:
        self.stream, self.gauge, self.kept = stream, gauge, b""

    def read(self, size: int) -> bytes:
        if self.kept:
            data, self.kept = self.kept[:size], self.kept[size:]
            return data
        data = self.stream.read(size)
        self.gauge.packed += len(data)
        return data

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.read(size - len(data))):
            data += more
        return data

    def unread(self, data: bytes) -> None:
        self.kept = data + self.kept


class _Decoder(Protocol):
    """What lzma and bz2 decompressors share."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def codec_of(head: bytes) -> str:
    """The compression of a stream by its first bytes; ``""`` when it is none of ours."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:6] == b"\xfd7zXZ\0":
        return "xz"
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2"
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    return ""


def chunks(stream: BinaryIO, gauge: Gauge) -> Iterator[bytes]:
    """The unpacked bytes of ``stream``, whose compression is recognised by its first bytes."""
    source = _Source(stream, gauge)
    head = source.exactly(10)
    source.unread(head)
    codec = codec_of(head)
    try:
        for piece in _CODECS[codec](source):
            gauge.add(len(piece))
            yield piece
    except ArchiveError:
        raise
    except (OSError, EOFError) as error:
        raise refusal(gauge.archive, f"not a sound {codec or 'plain'} stream: {error}", hint=BROKEN) from error
    except Exception as error:
        # zlib, ISA-L, lzma and zstd each have an error class of their own, with Exception as the only common base.
        if type(error).__module__.split(".")[0] not in ("zlib", "igzip_lib", "isal", "_lzma", "zstd", "zstandard"):
            raise
        raise refusal(gauge.archive, f"not a sound {codec} stream: {error}", hint=BROKEN) from error


def _plain(source: _Source) -> Iterator[bytes]:
    while data := source.read(STEP):
        yield data


def _gzip(source: _Source) -> Iterator[bytes]:
    from isal import isal_zlib

    while True:
        decoder = isal_zlib.decompressobj(wbits=31)
        while not decoder.eof:
            data = decoder.unconsumed_tail or source.read(STEP)
            if not data:
                raise _truncated(source, "gzip")
            yield decoder.decompress(data, STEP)
        source.unread(decoder.unused_data)
        if not _another(source, b"\x1f\x8b", "gzip"):
            return


def _stepwise(make: Callable[[], _Decoder], magic: bytes, codec: str) -> Callable[[_Source], Iterator[bytes]]:
    def run(source: _Source) -> Iterator[bytes]:
        while True:
            decoder = make()
            while not decoder.eof:
                data = source.read(STEP) if decoder.needs_input else b""
                if decoder.needs_input and not data:
                    raise _truncated(source, codec)
                yield decoder.decompress(data, STEP)
            source.unread(decoder.unused_data)
            if not _another(source, magic, codec):
                return

    return run


def _xz_decoder() -> Any:
    import lzma

    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=LZMA_MEMORY)


def _bzip2_decoder() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _zstd(source: _Source) -> Iterator[bytes]:
    """Frames are walked block by block (RFC 8878 §3.1.1): a block gives at most 128 KiB, so memory
    is bounded, and an end inside a frame is seen, which the library's readers let pass."""
    import zstandard

    def take(size: int) -> bytes:
        data = source.exactly(size)
        if len(data) < size:
            raise _truncated(source, "zstd")
        return data

    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    while True:
        magic = take(4)
        if magic != b"\x28\xb5\x2f\xfd":  # a skippable frame: no content
            left = int.from_bytes(take(4), "little")
            while left:
                left -= len(take(min(left, STEP)))
        else:
            descriptor = take(1)[0]
            single = descriptor >> 5 & 1
            content_size = (single, 2, 4, 8)[descriptor >> 6]
            header = take((1 - single) + (0, 1, 2, 4)[descriptor & 3] + content_size)
            decoder = decompressor.decompressobj()
            yield decoder.decompress(magic + bytes([descriptor]) + header)
            last = 0
            while not last:
                lead = take(3)
                word = int.from_bytes(lead, "little")
                last, kind, size = word & 1, word >> 1 & 3, word >> 3
                yield decoder.decompress(lead + take(1 if kind == 1 else size))
            if descriptor >> 2 & 1:
                yield decoder.decompress(take(4))
            if not decoder.eof:
                raise _truncated(source, "zstd")
        if not _another(source, b"", "zstd"):
            return


def _another(source: _Source, magic: bytes, codec: str) -> bool:
    """Whether another member follows; anything else but NUL padding to the end is refused."""
    head = source.exactly(max(len(magic), 4))
    if not head:
        return False
    if head.startswith(magic) if magic else codec_of(head) == codec:
        source.unread(head)
        return True
    while head:
        if head.strip(b"\0"):
            raise refusal(source.gauge.archive, f"has trailing garbage after its {codec} stream", hint=BROKEN)
        head = source.read(STEP)
    return False


def _truncated(source: _Source, codec: str) -> ArchiveError:
    return refusal(source.gauge.archive, f"is truncated: its {codec} stream ends early", hint=BROKEN)


_CODECS: dict[str, Callable[[_Source], Iterator[bytes]]] = {
    "": _plain,
    "gzip": _gzip,
    "xz": _stepwise(_xz_decoder, b"\xfd7zXZ\0", "xz"),
    "bzip2": _stepwise(_bzip2_decoder, b"BZh", "bzip2"),
    "zstd": _zstd,
}


class ChunkReader(io.RawIOBase):
    """A readable stream over chunks. ``exactly`` reads all of what is asked for, or what is left."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._current, self._at = pieces, b"", 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        while self._at >= len(self._current):
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._current, self._at = piece, 0
        start, self._at = self._at, min(self._at + size, len(self._current))
        whole = start == 0 and self._at == len(self._current)
        return self._current if whole else self._current[start : self._at]

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) == size:
            return data
        pieces, have = [data], len(data)
        while have < size and (more := self.read(size - have)):
            pieces.append(more)
            have += len(more)
        return b"".join(pieces)


class Slice(io.RawIOBase):
    """The next ``size`` bytes of a stream, as the content of one member. Reading past them gives
    the end; a stream that ends before them is the archive's truncation."""

    def __init__(self, stream: BinaryIO | ChunkReader, size: int, archive: str, member: str) -> None:
        self._stream, self.left, self._archive, self._member = stream, size, archive, member

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        wanted = min(size, self.left)
        if not wanted:
            return b""
        data = self._stream.read(wanted)
        if not data:
            raise refusal(self._archive, "is truncated: the content ends early", self._member, BROKEN)
        self.left -= len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def skip(self) -> None:
        while self.left:
            self.read(STEP)
