"""Layers: a recipe from which the tar is streamed, and a descriptor of the compressed blob.

The recipe is small: the tree, the writer's version and its options. The tar is a pure function of it,
and the compressed blob of the tar and the encoder. The blob is written once to ``derived/layers`` when
its digest is computed, and made again from the recipe when it is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermetic.action import Kind
from hermetic.digest import CHUNK, Digest
from hermetic.errors import InternalError
from hermetic.oci.compress import MEDIA_TYPES, compressor
from hermetic.oci.tar import entries, write
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.protocols import BlobStore

WRITER = 1  # goes up when the tar of some tree changes


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a layer's tar is made from."""

    tree: Digest
    compression: str
    links: bool = True
    remove: tuple[str, ...] = ()

    def encode(self) -> bytes:
        data = {
            "compression": self.compression,
            "links": self.links,
            "remove": list(self.remove),
            "tree": str(self.tree),
            "writer": WRITER,
        }
        return canonical(data)

    @staticmethod
    def decode(data: bytes) -> Recipe:
        found = json.loads(data)
        if found["writer"] != WRITER:
            raise InternalError(f"the layer was written by version {found['writer']} of the tar writer, not {WRITER}")
        return Recipe(Digest.parse(found["tree"]), found["compression"], found["links"], tuple(found["remove"]))


@dataclass(frozen=True, slots=True)
class Written:
    """A layer blob: digest of the compressed bytes, digest of the tar."""

    digest: Digest
    diff_id: Digest


def layer(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """The operation: ``/tree`` becomes a recipe and a descriptor. Parameters: ``compression``,
    ``created_by`` (the history line), ``remove``, ``links``."""
    recipe = Recipe(
        inputs["/tree"].digest,
        params.get("compression", "zstd"),
        bool(params.get("links", True)),
        tuple(params.get("remove", ())),
    )
    bench.store.want_tree(recipe.tree)
    written = pack(recipe, bench.store, bench.derived)
    descriptor = {
        "created_by": params["created_by"],
        "diff_id": written.diff_id.oci,
        "digest": written.digest.oci,
        "mediaType": MEDIA_TYPES[recipe.compression],
        "size": written.digest.size,
        "uncompressed_size": written.diff_id.size,
    }
    return {
        "recipe": Resolved(Kind.BLOB, bench.store.put(recipe.encode())),
        "descriptor": Resolved(Kind.BLOB, bench.store.put(canonical(descriptor))),
    }


def blob_path(derived: Path, digest: str) -> Path:
    return derived / "layers" / digest.removeprefix("sha256:")


def pack(recipe: Recipe, store: BlobStore, derived: Path) -> Written:
    """Stream the tar through hashing and compression into ``derived/layers``. Whoever calls has the files brought."""
    folder = derived / "layers"
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as out:
            written = _stream(recipe, store, out.write)
        os.chmod(name, 0o444)
        os.replace(name, blob_path(derived, written.digest.hash))
    except BaseException:
        os.unlink(name)
        raise
    return written


def _stream(recipe: Recipe, store: BlobStore, out: Any) -> Written:
    encoder = compressor(recipe.compression)
    packed, size = hashlib.sha256(), 0
    with Hasher() as raw:
        for piece in batches(tar_of(recipe, store)):
            raw.update(piece)
            data = encoder.compress(piece)
            if data:
                packed.update(data)
                size += len(data)
                out(data)
        data = encoder.flush()
        packed.update(data)
        out(data)
    return Written(Digest(packed.hexdigest(), size + len(data)), raw.digest)


def tar_of(recipe: Recipe, store: BlobStore) -> Iterator[bytes]:
    return write(entries(recipe.tree, store.read, links=recipe.links, remove=recipe.remove), store)


def batches(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces gathered to exactly 1 MiB (the last one shorter): one call into C per megabyte."""
    pending = bytearray()
    for piece in pieces:
        pending += piece
        while len(pending) >= CHUNK:
            yield bytes(pending[:CHUNK])
            del pending[:CHUNK]
    if pending:
        yield bytes(pending)


class Hasher:
    """SHA-256 in a thread of its own, so that hashing the tar and compressing it overlap."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(8)
        self._state = hashlib.sha256()
        self._size = 0
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Hasher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def update(self, data: bytes) -> None:
        self._queue.put(data)

    @property
    def digest(self) -> Digest:
        """Valid after the ``with`` block."""
        return Digest(self._state.hexdigest(), self._size)

    def _work(self) -> None:
        while (data := self._queue.get()) is not None:
            self._state.update(data)
            self._size += len(data)


def canonical(value: Any) -> bytes:
    """JSON with one possible text: sorted names, no spaces, no escapes of printable characters."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
