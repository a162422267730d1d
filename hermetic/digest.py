"""Digests: a SHA-256 and a size, the name of every blob another machine may read.

A digest is the pair (hash, size), as in the Remote Execution API: the right hash with the wrong
size is a different, invalid digest. Parsing is strict (64 lower-case hex digits, no sign, no
leading zeros), because digests arrive from manifests, caches and command lines.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO

from hermetic.errors import UserError

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """``hash``: 64 lower-case hex digits of SHA-256. ``size``: bytes, 0 ≤ size < 2**63."""

    hash: str
    size: int

    def __str__(self) -> str:
        return f"{self.hash}/{self.size}"

    @property
    def oci(self) -> str:
        """The form OCI descriptors use: ``sha256:<hex>``."""
        return f"sha256:{self.hash}"

    @staticmethod
    def of(data: bytes) -> Digest:
        return Digest(hashlib.sha256(data).hexdigest(), len(data))

    @staticmethod
    def of_file(stream: BinaryIO) -> Digest:
        """Digest of everything left in ``stream``, read in 1 MiB pieces."""
        state, size = hashlib.sha256(), 0
        while chunk := stream.read(CHUNK):
            state.update(chunk)
            size += len(chunk)
        return Digest(state.hexdigest(), size)

    @staticmethod
    def parse(text: str) -> Digest:
        """Parse ``<hash>/<size>``. Raises UserError for anything else."""
        hash_, slash, size = text.partition("/")
        if not slash or not _SIZE.fullmatch(size) or int(size) >= 1 << 63:
            raise UserError(f"not a digest: {text!r} (want <64 hex digits>/<size in bytes>)")
        return Digest(parse_sha256(hash_), int(size))


def parse_sha256(text: str) -> str:
    """Check a bare or ``sha256:``-prefixed SHA-256 and return its 64 hex digits."""
    bare = text.removeprefix("sha256:")
    if not _HEX.fullmatch(bare):
        raise UserError(f"not a SHA-256: {text!r} (want 64 lower-case hex digits)")
    return bare


EMPTY = Digest.of(b"")
