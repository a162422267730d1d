"""A store in memory, for tests and for small Merkle work. Same promises as the one on disk."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from hermetic.digest import EMPTY, Digest
from hermetic.errors import StoreError
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.protocols import MissingBlob


class MemoryStore:
    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {EMPTY: b""}
        self.results: dict[Digest, pb.ActionResult] = {}

    def read(self, digest: Digest) -> bytes:
        try:
            return self.blobs[digest]
        except KeyError:
            raise MissingBlob(digest) from None

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.read(digest))

    def has(self, digest: Digest) -> bool:
        return digest in self.blobs

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        return [digest for digest in dict.fromkeys(digests) if digest not in self.blobs]

    def find_sha256(self, sha256: str) -> Digest | None:
        return next((digest for digest in self.blobs if digest.hash == sha256), None)

    def put(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return digest

    def put_stream(self, stream: BinaryIO, expect: Digest | None = None) -> Digest:
        digest = self.put(stream.read())
        if expect is not None and digest != expect:
            raise StoreError(f"content has digest {digest}, not {expect}")
        return digest

    def put_file(self, path: Path, *, take: bool = False) -> Digest:  # noqa: ARG002
        return self.put(path.read_bytes())

    def want_tree(self, root: Digest) -> None: ...

    def path(self, digest: Digest, *, executable: bool = False) -> Path:  # noqa: ARG002
        raise StoreError("a store in memory has no paths")

    def get(self, key: Digest) -> pb.ActionResult | None:
        return self.results.get(key)

    def was_evicted(self, key: Digest) -> bool:  # noqa: ARG002
        return False

    def put_result(self, key: Digest, result: pb.ActionResult) -> None:
        self.results[key] = result
