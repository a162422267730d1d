"""A bucket as a cache.

    <prefix>/hb/ac/<zone>/<hh>/<key>            signed results, written once
    <prefix>/hb/cas/<zone>/<hh>/<sha256>        blobs as zstd frames, named by their content
    <prefix>/hb/conflict/<zone>/<key>-<sha256>  results that lost their place

Every write is conditional (``If-None-Match: *``), so a bucket policy can demand it: what has a name
keeps its content. Reads are one GET; what is longer than a part comes in parallel ranges. A bucket
has no batches and no index, so small blobs come here in packs.

Sources: the S3 API reference (PutObject, CompleteMultipartUpload, GetObject), conditional writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from hermetic.digest import Digest
from hermetic.store.remote.address import Address
from hermetic.store.remote.bucket import Bucket
from hermetic.store.remote.flow import PART, WIDTH
from hermetic.store.remote.frames import expand, frame_of
from hermetic.store.remote.protocol import Opener, RemoteError, Sink, Traffic

TRIES = 4  # of a result that can be neither written nor read


class S3Remote:
    batch = 0

    def __init__(self, address: Address) -> None:
        self.traffic = Traffic()
        self.bucket = Bucket(address, self.traffic)

    @property
    def name(self) -> str:
        return self.bucket.name

    @property
    def address(self) -> Address:
        return self.bucket.address

    # --- results ----------------------------------------------------------------------------------

    def get_result(self, key: Digest, zone: str) -> bytes | None:
        return self.bucket.read(self._ac(key, zone))

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        place = self._ac(key, zone)
        for _ in range(TRIES):
            if self.bucket.create(place, data):
                return None
            found = self.bucket.read(place)
            if found is not None:
                return found
        raise RemoteError(f"{self.name}: a result can be neither written nor read")

    def put_aside(self, key: Digest, zone: str, data: bytes) -> str:
        place = self.bucket.place(f"conflict/{zone}/{key.hash}-{hashlib.sha256(data).hexdigest()}")
        self.bucket.create(place, data)
        return self.bucket.url(place)

    # --- blobs ------------------------------------------------------------------------------------

    def get_blob(self, digest: Digest, zone: str, sink: Sink) -> bool:
        with self.bucket.download(self._cas(digest, zone), digest.size) as parts:
            if parts is None:
                return False
            expand(parts, sink, digest.size)
        return True

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:
        raise NotImplementedError("a bucket has no batches")

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:
        raise NotImplementedError("a bucket has no batches")

    def put_blob(self, digest: Digest, zone: str, content: Opener) -> None:
        with content() as source:
            self.bucket.create_from(self._cas(digest, zone), frame_of(source, digest.size, PART), digest.size)

    def find_missing(self, digests: Iterable[Digest], zone: str) -> set[Digest]:
        wanted = list(dict.fromkeys(digests))
        with ThreadPoolExecutor(WIDTH) as pool:
            there = pool.map(lambda digest: self.bucket.exists(self._cas(digest, zone)), wanted)
            return {digest for digest, found in zip(wanted, there, strict=True) if not found}

    def close(self) -> None:
        self.bucket.close()

    # --- names ------------------------------------------------------------------------------------

    def _ac(self, key: Digest, zone: str) -> str:
        return self.bucket.place(f"ac/{zone}/{key.hash[:2]}/{key.hash}")

    def _cas(self, digest: Digest, zone: str) -> str:
        return self.bucket.place(f"cas/{zone}/{digest.hash[:2]}/{digest.hash}")
