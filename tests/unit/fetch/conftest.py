"""Shared helpers: a store in memory and a way to look at trees."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from hermetic import tree
from hermetic.digest import Digest
from hermetic.errors import StoreError
from hermetic.store.protocols import MissingBlob


class MemoryStore:
    """A BlobStore that keeps everything in a dictionary; ``path`` writes into a folder."""

    def __init__(self, folder: Path) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.folder = folder

    def read(self, digest: Digest) -> bytes:
        if digest not in self.blobs:
            raise MissingBlob(digest)
        return self.blobs[digest]

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.read(digest))

    def has(self, digest: Digest) -> bool:
        return digest in self.blobs

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        return [digest for digest in dict.fromkeys(digests) if digest not in self.blobs]

    def put(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return digest

    def put_stream(self, stream: BinaryIO, expect: Digest | None = None) -> Digest:
        data = b"".join(iter(lambda: stream.read(1 << 16), b""))
        if expect is not None and Digest.of(data) != expect:
            raise StoreError(f"got {Digest.of(data)}, expected {expect}")
        return self.put(data)

    def put_file(self, path: Path, *, take: bool = False) -> Digest:  # noqa: ARG002
        return self.put(path.read_bytes())

    def path(self, digest: Digest, *, executable: bool = False) -> Path:  # noqa: ARG002
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / digest.hash
        path.write_bytes(self.read(digest))
        return path

    def listing(self, root: Digest) -> dict[str, tree.File | tree.Symlink | tree.Meta]:
        """A tree as the flat mapping ``tree.build`` takes."""
        return {
            path: node.meta if isinstance(node, tree.Directory) else node for path, node in tree.walk(root, self.read)
        }

    def texts(self, root: Digest) -> dict[str, str]:
        """Files by path with their text; symlinks as ``-> target``; directories left out."""
        found = {}
        for path, node in tree.walk(root, self.read):
            if isinstance(node, tree.File):
                found[path] = self.read(node.digest).decode()
            elif isinstance(node, tree.Symlink):
                found[path] = f"-> {node.target}"
        return found


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return MemoryStore(tmp_path / "memory-store")


def _load(name: str) -> Any:
    """A helper module of this folder (test folders are no packages)."""
    spec = importlib.util.spec_from_file_location(f"hb_test_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def web() -> Any:
    """The module ``faulty_server``: Server, Reply, Seen, ranged."""
    return _load("faulty_server")
