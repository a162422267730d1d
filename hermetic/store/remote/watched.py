"""A remote whose every request is a span: what was asked, how many bytes, what came of it.

Guarantees: nothing else changes; a request that fails is a span that says so. Only a profile or a collector
of traces puts this around a remote.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from hermetic.digest import Digest
from hermetic.spans import Open, Spans
from hermetic.store.remote.bucket import Bucket
from hermetic.store.remote.protocol import Opener, Remote, Sink, Traffic


@dataclass(frozen=True)
class WatchedRemote:
    remote: Remote
    spans: Spans

    @property
    def name(self) -> str:
        return self.remote.name

    @property
    def traffic(self) -> Traffic:
        return self.remote.traffic

    @property
    def batch(self) -> int:
        return self.remote.batch

    @property
    def bucket(self) -> Bucket | None:
        return self.remote.bucket  # leases and their like are few

    def get_result(self, key: Digest, zone: str) -> bytes | None:
        with self._request("get result", zone, key=key.hash) as span:
            found = self.remote.get_result(key, zone)
            span.say(result="miss" if found is None else "hit", bytes=len(found or b""))
        return found

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        with self._request("put result", zone, key=key.hash, bytes=len(data)) as span:
            there = self.remote.put_result(key, zone, data)
            span.say(result="stored" if there is None else "taken")
        return there

    def put_aside(self, key: Digest, zone: str, data: bytes) -> str:
        with self._request("put aside", zone, key=key.hash, bytes=len(data)):
            return self.remote.put_aside(key, zone, data)

    def get_blob(self, digest: Digest, zone: str, sink: Sink) -> bool:
        with self._request("get blob", zone, blob=digest.hash) as span:
            there = self.remote.get_blob(digest, zone, sink)
            span.say(result="there" if there else "gone", bytes=digest.size if there else 0)
        return there

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:
        with self._request("get blobs", zone, blobs=len(digests)) as span:
            found = self.remote.get_small(digests, zone)
            span.say(found=len(found), bytes=sum(map(len, found.values())))
        return found

    def put_blob(self, digest: Digest, zone: str, content: Opener) -> None:
        with self._request("put blob", zone, blob=digest.hash, bytes=digest.size):
            self.remote.put_blob(digest, zone, content)

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:
        with self._request("put blobs", zone, blobs=len(blobs), bytes=sum(len(data) for _, data in blobs)):
            self.remote.put_small(blobs, zone)

    def find_missing(self, digests: Iterable[Digest], zone: str) -> set[Digest]:
        asked = list(digests)
        with self._request("find missing", zone, blobs=len(asked)) as span:
            missing = self.remote.find_missing(asked, zone)
            span.say(missing=len(missing))
        return missing

    def close(self) -> None:
        self.remote.close()

    def _request(self, name: str, zone: str, **said: str | int) -> AbstractContextManager[Open]:
        return self.spans.span(name, zone=zone, **said)
