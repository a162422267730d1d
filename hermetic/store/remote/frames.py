"""Compression on the way: zstd frames in and out, never more than was announced.

Level 3 is past the knee of the curve for build outputs. A frame from elsewhere may claim any window
and any length, so both are bounded before memory or disk is spent on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import zstandard

from hermetic.digest import CHUNK
from hermetic.errors import StoreError
from hermetic.store.remote.protocol import Sink

LEVEL = 3
WINDOW = 128 << 20  # bytes a decoder may need
PARALLEL = 16 << 20  # content from this size on is compressed by several threads
THREADS = 2
SPOOL = 8 << 20  # frames up to this size stay in memory


class BadFrame(StoreError):
    """Not zstd, or more than was announced."""


class Limited:
    """A sink that takes ``limit`` bytes at most."""

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink = sink
        self._left = limit

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise BadFrame("a blob is longer than its digest says")
        return self._sink.write(data)


def compress(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def decompress(data: bytes, limit: int) -> bytes:
    """The content of one frame. Raises BadFrame beyond ``limit`` bytes or when it is not zstd."""
    parts: list[bytes] = []
    left = limit
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(data)
        while chunk := reader.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise BadFrame("a frame holds more than was announced")
            parts.append(chunk)
    except zstandard.ZstdError as error:
        raise BadFrame(f"not a zstd frame: {error}") from None
    return b"".join(parts)


def expand(pieces: Iterable[bytes], sink: Sink, limit: int) -> None:
    """Decompress one frame, which comes in pieces, into ``sink``. However much a piece unfolds to, it is handed on
    by the megabyte."""
    unpacked = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_writer(
        Limited(sink, limit),  # type: ignore[arg-type]
        write_size=CHUNK,
    )
    try:
        for piece in pieces:
            unpacked.write(piece)
    except zstandard.ZstdError as error:
        raise BadFrame(f"not a zstd frame: {error}") from None


def frame_of(source: BinaryIO, size: int, piece: int) -> Iterator[bytes]:
    """A stream's content as one frame, in pieces of ``piece`` bytes; the last may be shorter."""
    threads = THREADS if size > PARALLEL else 0
    with zstandard.ZstdCompressor(level=LEVEL, threads=threads).stream_reader(source, size=size) as reader:
        while data := reader.read(piece):
            yield data


@contextmanager
def compressed(source: BinaryIO, size: int) -> Iterator[tuple[BinaryIO, int]]:
    """A stream's content as one frame, with its length: (frame, bytes)."""
    with tempfile.SpooledTemporaryFile(SPOOL) as frame:
        zstandard.ZstdCompressor(level=LEVEL).copy_stream(source, frame, size=size)
        length = frame.tell()
        frame.seek(0)
        yield frame, length  # type: ignore[misc]
