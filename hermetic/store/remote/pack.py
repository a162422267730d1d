"""Packs: many small blobs stored as one, for remotes where each request costs the same.

A pack is a zstd frame of: the length of its index (4 bytes, big-endian), the index (``hb.v1.PackIndex``,
the digests in order), the blobs. It is a blob itself, named by the digest of its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from hermetic.digest import Digest
from hermetic.errors import UserError
from hermetic.proto import hb_pb2
from hermetic.store.remote.frames import BadFrame, compress, decompress

SMALL = 1 << 20  # blobs up to this size are packed
FULL = 16 << 20  # bytes of blobs in a pack
LIMIT = FULL + SMALL + (8 << 20)  # what a pack may unfold to, with its index


def grouped(digests: Iterable[Digest]) -> Iterator[list[Digest]]:
    """Small blobs in order, as many as a pack takes."""
    group: list[Digest] = []
    size = 0
    for digest in digests:
        if group and size + digest.size > FULL:
            yield group
            group, size = [], 0
        group.append(digest)
        size += digest.size
    if group:
        yield group


def make(digests: Sequence[Digest], read: Callable[[Digest], bytes]) -> bytes:
    index = hb_pb2.PackIndex(digests=[str(digest) for digest in digests]).SerializeToString(deterministic=True)
    return compress(b"".join([struct.pack(">I", len(index)), index, *map(read, digests)]))


def unfold(data: bytes) -> Iterator[tuple[Digest, bytes]]:
    """The blobs of a pack, unchecked. Raises BadFrame for what is not a pack."""
    plain = memoryview(decompress(data, LIMIT))
    try:
        (length,) = struct.unpack(">I", plain[:4])
        index = hb_pb2.PackIndex.FromString(bytes(plain[4 : 4 + length]))
        digests = [Digest.parse(text) for text in index.digests]
    except (struct.error, UserError, ValueError) as error:
        raise BadFrame(f"not a pack: {error}") from None
    except Exception as error:  # protobuf's DecodeError has no stable public base
        raise BadFrame(f"not a pack: {error}") from None
    at = 4 + length
    for digest in digests:
        yield digest, bytes(plain[at : at + digest.size])
        at += digest.size
