"""Blobs that are not here but can be had: what trusted results say of their outputs.

A promise is kept by result, not by file: a tree's files are listed only when one of them is asked for.
What a remote turned out not to have is withdrawn, and counts as missing from then on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from hermetic import tree
from hermetic.digest import Digest
from hermetic.errors import UserError
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote.closure import named
from hermetic.tree import File


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look for a blob: in a pack (digest, zone), and alone in a zone."""

    zone: str
    pack: tuple[Digest, str] | None = None


@dataclass(frozen=True, slots=True)
class TreePromise:
    """A tree whose directories are all in one ``Tree`` message. ``files``: the places of its files, as a walk
    meets them."""

    root: Digest
    message: Digest
    place: Place
    files: Sequence[Place]


class _Places:
    """The places that an entry counts: each pack once. A pack with a bad name is no pack."""

    def __init__(self, where: hb_pb2.Whereabouts) -> None:
        self.alone = Place(where.zone)
        self._numbered = [self.alone]
        for one in where.packs:
            try:
                self._numbered.append(Place(where.zone, (Digest.parse(one.digest), one.zone)))
            except UserError:
                self._numbered.append(self.alone)

    def of(self, numbers: Iterable[int]) -> list[Place]:
        return [self._numbered[one] if one < len(self._numbered) else self.alone for one in numbers]


class Promises:
    """Thread-safe."""

    def __init__(self, disk: DiskStore) -> None:
        self._disk = disk
        self._lock = threading.RLock()
        self._blobs: dict[Digest, Place] = {}
        self._trees: dict[Digest, TreePromise] = {}
        self._unlisted: dict[Digest, TreePromise] = {}  # trees whose files are not in _blobs yet
        self._untried: deque[Digest] = deque()  # of these, the ones nobody looked at, makers before merges
        self._gone: set[Digest] = set()

    def add(self, result: pb.ActionResult, where: hb_pb2.Whereabouts) -> None:
        places = _Places(where)
        blobs = dict(zip(named(result), chain(places.of(where.named), repeat(places.alone)), strict=False))
        with self._lock:
            for digest, place in blobs.items():
                self._promise(digest, place)
            for one, files in zip(result.output_directories, chain(where.trees, repeat(None)), strict=False):
                root, message = _digest(one.root_directory_digest), _digest(one.tree_digest)
                if root not in self._trees:
                    listed = places.of(files.packs) if files is not None else ()
                    self._trees[root] = self._unlisted[root] = TreePromise(root, message, blobs[message], listed)
                    self._untried.append(root)

    def holds(self, digest: Digest) -> bool:
        return self.tree(digest) is not None or self.find(digest) is not None

    def find(self, digest: Digest) -> Place | None:
        with self._lock:
            while digest not in self._blobs and self._untried:
                self.list_files(self._untried.popleft())
            return self._blobs.get(digest)

    def tree(self, root: Digest) -> TreePromise | None:
        with self._lock:
            return None if root in self._gone else self._trees.get(root)

    def unlisted(self) -> list[TreePromise]:
        with self._lock:
            return list(self._unlisted.values())

    def list_files(self, root: Digest) -> bool:
        """Promise a tree's files one by one; False when its directories are not here, and not its message."""
        with self._lock:
            promise = self._unlisted.get(root)
            if promise is None:
                return True
            files = self._files(root)
            if files is None and self._disk.has(promise.message):
                for directory in directories(self._disk.read(promise.message)):
                    self._disk.put(directory)
                files = self._files(root)
            if files is None:
                return False
            del self._unlisted[root]
            for digest, place in zip(files, chain(promise.files, repeat(Place(promise.place.zone))), strict=False):
                self._promise(digest, place)
            return True

    def _files(self, root: Digest) -> list[Digest] | None:
        try:
            return [node.digest for _, node in tree.walk(root, self._disk.read) if isinstance(node, File)]
        except MissingBlob:
            return None

    def withdraw(self, digests: Iterable[Digest]) -> None:
        with self._lock:
            for digest in digests:
                self._gone.add(digest)
                self._blobs.pop(digest, None)
                self._unlisted.pop(digest, None)

    def _promise(self, digest: Digest, place: Place) -> None:
        if digest not in self._gone:
            self._blobs.setdefault(digest, place)


def directories(message: bytes) -> Iterator[bytes]:
    """The directories in a Tree message; none when it is not one."""
    try:
        found = pb.Tree.FromString(message)
    except Exception:  # protobuf's DecodeError has no stable public base
        return
    for directory in (found.root, *found.children):
        yield directory.SerializeToString(deterministic=True)


def _digest(message: pb.Digest) -> Digest:
    return Digest(message.hash, message.size_bytes)
