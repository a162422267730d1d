"""The local store with a remote behind it.

Guarantees: whatever is read is on the local disk by then, verified. ``has`` and ``missing`` answer for
what is here *and* for what a trusted result promises: such a blob is brought when it is first read.
Results are looked for here, then in the remote; new ones are written here, then offered.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.operation import Resolved
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote.cache import Download, RemoteCache, whereabouts
from hermetic.store.trust import Policy


class ChoosyStore(DiskStore):
    """A local store under a policy: results that came from a remote count only when it trusts their signer."""

    def __init__(self, disk: DiskStore, policy: Policy) -> None:
        super().__init__(disk.root)
        self._policy = policy

    def get(self, key: Digest) -> pb.ActionResult | None:
        found = super().get(key)
        where = whereabouts(found) if found is not None else None
        return found if where is None or where.signer in self._policy.keys else None


class TieredStore(DiskStore):
    def __init__(self, disk: DiskStore, remote: RemoteCache) -> None:
        super().__init__(disk.root)
        self.disk = disk
        self.remote = remote

    # --- blobs ------------------------------------------------------------------------------------

    def read(self, digest: Digest) -> bytes:
        try:
            return self.disk.read(digest)
        except MissingBlob:
            self.remote.fetch(digest)
            return self.disk.read(digest)

    def open(self, digest: Digest) -> BinaryIO:
        self._have(digest)
        return self.disk.open(digest)

    def path(self, digest: Digest, *, executable: bool = False) -> Path:
        self._have(digest)
        return self.disk.path(digest, executable=executable)

    def has(self, digest: Digest) -> bool:
        return self.disk.has(digest) or self.remote.promised(digest)

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        return [digest for digest in self.disk.missing(digests) if not self.remote.promised(digest)]

    def put(self, data: bytes) -> Digest:
        return self.disk.put(data)

    def put_stream(self, stream: BinaryIO, expect: Digest | None = None) -> Digest:
        return self.disk.put_stream(stream, expect)

    def put_file(self, path: Path, *, take: bool = False) -> Digest:
        return self.disk.put_file(path, take=take)

    def want_tree(self, root: Digest) -> None:
        """About to be read as a whole: bring what is missing together, not one by one."""
        self.remote.want_trees([root])

    def stays_remote(self, resolved: Resolved) -> bool:
        """Whether a requested output is left where it is: it is not all here, and the download is minimal."""
        if self.remote.terms.download is not Download.MINIMAL:
            return False
        if resolved.kind is Kind.BLOB:
            return not self.disk.has(resolved.digest)
        try:
            nodes = tree.walk(resolved.digest, self.disk.read)
            return bool(self.disk.missing(node.digest for _, node in nodes if isinstance(node, tree.File)))
        except MissingBlob:
            return True

    def _have(self, digest: Digest) -> None:
        if not self.disk.has(digest):
            self.remote.fetch(digest)

    # --- results ----------------------------------------------------------------------------------

    def get(self, key: Digest) -> pb.ActionResult | None:
        found = self.disk.get(key)
        if found is None or not self.remote.remember(key, found):
            return None
        self.remote.share(key, found)
        return found

    def get_remote(self, key: Digest) -> pb.ActionResult | None:
        found = self.remote.get(key)
        if found is not None:
            self.disk.put_result(key, found)
        return found

    def put_result(self, key: Digest, result: pb.ActionResult) -> None:
        self.disk.put_result(key, result)
        self.remote.offer(key, result)
