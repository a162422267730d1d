"""A vendor directory: everything pinned that an air-gapped build needs.

Layout: ``cas/<first two digits>/<sha256>`` holds blobs; ``trees/<operation>-<pin>-<params>`` holds the
root of a fetched tree as ``<sha256>/<size>``. Files are written under a temporary name and renamed, so
that an interrupted ``hb vendor`` leaves a directory that is smaller, never wrong; what is read is
verified again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest, parse_sha256
from hermetic.errors import FetchError, UserError
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore


@dataclass(frozen=True, slots=True)
class VendorDir:
    path: Path

    def get(self, operation: str, params: Mapping[str, Any], store: BlobStore) -> Resolved | None:
        """Take a pinned thing into the store; None when it is not vendored."""
        if "sha256" in params:
            blob = self._blob(parse_sha256(str(params["sha256"])))
            return Resolved(Kind.BLOB, self._take(blob, store)) if blob.is_file() else None
        mark = self._mark(operation, params)
        if not mark.is_file():
            return None
        root = Digest.parse(mark.read_text().strip())
        self._take_tree(root, store)
        return Resolved(Kind.TREE, root)

    def put(self, operation: str, params: Mapping[str, Any], result: Resolved, store: BlobStore) -> None:
        """Keep a fetched thing: its blobs first, its name last."""
        if result.kind is Kind.BLOB:
            self._keep(result.digest, store)
            return
        for _, node in tree.walk(result.digest, self._keeping(store)):
            if isinstance(node, tree.File):
                self._keep(node.digest, store)
        with _appearing(self._mark(operation, params)) as sink:
            sink.write(f"{result.digest}\n".encode())

    def _keeping(self, store: BlobStore) -> tree.Load:
        def load(digest: Digest) -> bytes:
            self._keep(digest, store)
            return store.read(digest)

        return load

    def _blob(self, sha256: str) -> Path:
        return self.path / "cas" / sha256[:2] / sha256

    def _mark(self, operation: str, params: Mapping[str, Any]) -> Path:
        pin = str(params.get("commit") or params.get("digest") or "").replace(":", "-")
        if not pin.replace("-", "").isalnum():
            raise UserError(f"not a pin of {operation}: {pin!r}")
        whole = json.dumps(dict(params), sort_keys=True, separators=(",", ":"))
        return self.path / "trees" / f"{operation}-{pin}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"

    def _take(self, path: Path, store: BlobStore) -> Digest:
        try:
            with path.open("rb") as stream:
                digest = store.put_stream(stream)
        except FileNotFoundError:
            raise FetchError(f"{self.path} lacks the blob {path.name}", hint="run `hb vendor` again") from None
        if digest.hash != path.name:
            raise FetchError(
                f"the vendored file {path} is damaged: its sha256 is {digest.hash}",
                hint="remove it and run `hb vendor` again where there is a network",
            )
        return digest

    def _take_tree(self, root: Digest, store: BlobStore) -> None:
        pending = [root]
        while pending:
            digest = pending.pop()
            self._take(self._blob(digest.hash), store)
            for node in tree.Directory.decode(store.read(digest)).entries.values():
                if isinstance(node, tree.Subdir):
                    pending.append(node.digest)
                elif isinstance(node, tree.File) and not store.has(node.digest):
                    self._take(self._blob(node.digest.hash), store)

    def _keep(self, digest: Digest, store: BlobStore) -> None:
        path = self._blob(digest.hash)
        if path.is_file() and path.stat().st_size == digest.size:
            return
        with store.open(digest) as source, _appearing(path) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that is at ``path`` only once it is written to the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink:
            yield sink
            sink.flush()
            os.fchmod(sink.fileno(), 0o644)
            os.fsync(sink.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
