"""Compression on the way: zstd frames in and out, never more than was announced.

Level 3 is past the knee of the curve for build outputs. A frame from elsewhere may claim any window
and any length, so both are bounded before memory or disk is spent on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import BinaryIO

import zstandard

from hermetic.digest import CHUNK
from hermetic.errors import StoreError
from hermetic.store.remote.protocol import Sink
from hermetic.store.remote.turns import in_turn

LEVEL = 3
WINDOW = 128 << 20  # bytes a decoder may need
PARALLEL = 16 << 20  # longer content is compressed and unpacked by several threads
BLOCK = 4 << 20  # bytes of it in one frame
THREADS = 2
HEADER, SHORTEST = 18, 9  # bytes of the longest header of a frame, and of a whole frame
REPEATED = 1  # the kind of block that is one byte, many times (RFC 8878, 3.1.1.2)
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


def copy(pieces: Iterable[bytes], sink: Sink, limit: int) -> None:
    """What comes in pieces and is not compressed."""
    limited = Limited(sink, limit)
    for piece in pieces:
        limited.write(piece)


def expand(pieces: Iterable[bytes], sink: Sink, limit: int) -> None:
    """Decompress what comes in pieces into ``sink``: one frame of any length, handed on by the megabyte, or the
    independent frames of a large blob, several at once."""
    limited = Limited(sink, limit)
    left = iter(pieces)
    first = next(left, b"")
    try:
        if limit > PARALLEL and zstandard.get_frame_parameters(first).content_size <= BLOCK:
            for content in in_turn(_unpacked, whole_frames(chain((first,), left)), THREADS + 1):
                limited.write(content)
            return
        unpacked = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_writer(limited, write_size=CHUNK)  # type: ignore[arg-type]
        for piece in chain((first,), left):
            unpacked.write(piece)
    except zstandard.ZstdError as error:
        raise BadFrame(f"not a zstd frame: {error}") from None


def _unpacked(frame: bytes) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=WINDOW).decompress(frame, max_output_size=BLOCK)


def whole_frames(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Frames of at most BLOCK bytes of content each, one by one. Raises BadFrame, also for what is left over."""
    have = bytearray()
    for piece in pieces:
        have += piece
        at = 0
        while (end := _end(have, at)) is not None:
            yield bytes(memoryview(have)[at:end])
            at = end
        del have[:at]
        if len(have) > 2 * BLOCK:
            raise BadFrame("a frame is longer than its content can be")
    if have:
        raise BadFrame("the last frame is not whole")


def _end(data: bytearray, start: int) -> int | None:
    """Where the frame ends that begins here; None when it is not all there. Only the headers of its blocks
    are looked at."""
    head = data[start : start + HEADER]
    if len(head) < HEADER and len(data) - start < SHORTEST:
        return None
    try:
        about = zstandard.get_frame_parameters(head)
    except zstandard.ZstdError:
        if len(head) < HEADER:
            return None
        raise
    if about.content_size > BLOCK:
        raise BadFrame("a frame holds more than was announced")
    at = start + zstandard.frame_header_size(head)
    last = False
    while not last:
        block = int.from_bytes(data[at : at + 3], "little")
        if at + 3 > len(data):
            return None
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == REPEATED else size)
    at += 4 * about.has_checksum
    return at if at <= len(data) else None


def frame_of(source: BinaryIO, size: int, piece: int) -> Iterator[bytes]:
    """A stream's content compressed, in pieces of ``piece`` bytes; the last may be shorter. Large content becomes
    many independent frames, so that several threads can make them, and unpack them."""
    if size > PARALLEL:
        blocks = iter(partial(source.read, BLOCK), b"")
        yield from _regrouped(in_turn(compress, blocks, THREADS + 1), piece)
        return
    with zstandard.ZstdCompressor(level=LEVEL).stream_reader(source, size=size) as reader:
        while data := reader.read(piece):
            yield data


def _regrouped(parts: Iterable[bytes], piece: int) -> Iterator[bytes]:
    have = b""
    for part in parts:
        have += part
        while len(have) >= piece:
            yield have[:piece]
            have = have[piece:]
    if have:
        yield have


@contextmanager
def compressed(source: BinaryIO, size: int) -> Iterator[tuple[BinaryIO, int]]:
    """A stream's content as one frame, with its length: (frame, bytes)."""
    with tempfile.SpooledTemporaryFile(SPOOL) as frame:
        zstandard.ZstdCompressor(level=LEVEL).copy_stream(source, frame, size=size)
        length = frame.tell()
        frame.seek(0)
        yield frame, length  # type: ignore[misc]
