"""Compiled objects in a bucket, laid out as the tool itself lays them out: who runs it beside hb, with the
prefix as its key prefix, shares them.

    <prefix>/a/b/c/abc…

Guarantees: an answer that takes longer than ``SECONDS`` is a failure; nothing is read beyond ``LARGEST``.
An object is written once (``If-None-Match: *``), as a bucket policy may demand. Requests are signed here,
outside every sandbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hermetic.store.remote import bucket
from hermetic.store.remote.address import Address
from hermetic.store.remote.protocol import Traffic

SECONDS = 1.0  # without a byte; a whole answer may take twice that, and longer when it is large
LARGEST = 128 << 20  # bytes of an object


class Bucket:
    """``reads``: prefixes that are looked at, in order; ``writes``: the one that is written to, or ""."""

    def __init__(self, address: Address, reads: Sequence[str], writes: str) -> None:
        patience = str(min(address.timeout, SECONDS))
        self._bucket = bucket.Bucket(replace(address, options={**address.options, "timeout": patience}), Traffic())
        self.reads, self.writes = tuple(reads), writes

    @property
    def name(self) -> str:
        return self._bucket.name

    def warm(self) -> None:
        """Make the client, which takes longer than a request."""
        self._bucket.warm()

    def close(self) -> None:
        self._bucket.close()

    def get_object(self, key: str) -> bytes | None:
        """Raises RemoteError."""
        for prefix in self.reads:
            found = self._bucket.read(_place(prefix, key), LARGEST)
            if found is not None:
                return found
        return None

    def put_object(self, key: str, data: bytes) -> None:
        """Raises RemoteError."""
        self._bucket.create(_place(self.writes, key), data)


def _place(prefix: str, key: str) -> str:
    return "/".join((*filter(None, (prefix,)), *key[:3], key))
