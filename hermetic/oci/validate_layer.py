"""One layer blob read to its end: its diff id, and whether its members mean one thing to every reader.

Guarantees: the stream is whole and of the compression its media type says; the tar is unambiguous; no
member leaves the root by its name, its parents or a hard link; whiteouts stand where they may. The
readers are those that unpack fetched archives, so what they refuse there is refused here.
Source: OCI image specification 1.1, layer.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from hermetic.archive.codec import ChunkReader, Gauge, Limits, chunks, codec_of
from hermetic.archive.tar import TarReader
from hermetic.archive.tree import Collector
from hermetic.digest import CHUNK, Digest
from hermetic.errors import ArchiveError
from hermetic.oci.base import LAYER
from hermetic.oci.compress import MEDIA_TYPES
from hermetic.oci.tar import XATTRS
from hermetic.tree import File, Meta, Symlink

_CODECS = {media_type: "" if kind == "none" else kind for kind, media_type in MEDIA_TYPES.items()}


class _Nowhere:
    """Takes contents and keeps nothing: only their sizes are compared."""

    def put(self, data: bytes) -> Digest:
        return Digest("0" * 64, len(data))

    def put_stream(self, stream: BinaryIO) -> Digest:
        size = 0
        while piece := stream.read(CHUNK):
            size += len(piece)
        return Digest("0" * 64, size)


@dataclass
class Layers:
    """Reads the layers of one image from the bottom up. ``links``: symbolic links of those read."""

    links: set[str] = field(default_factory=set)

    def read(self, blob: BinaryIO, media_type: str, diff_id: str) -> Iterator[str]:
        """What is wrong with the next layer, as far as it can be read."""
        codec = codec_of(blob.read(10))
        blob.seek(0)
        if codec != _CODECS[media_type]:
            yield f"is {codec or 'not compressed'}, its mediaType says {_CODECS[media_type] or 'not compressed'}"
            return
        state = hashlib.sha256()
        try:
            nodes = _members(blob, state)
        except ArchiveError as error:
            yield error.message.removeprefix("the layer: ")
            return
        found = f"sha256:{state.hexdigest()}"
        if found != diff_id:
            yield f"has diff id {found}, the configuration says {diff_id}"
        yield from self._judge(nodes)
        self._apply(nodes)

    def _judge(self, nodes: dict[str, File | Symlink | Meta]) -> Iterator[str]:
        for path, node in nodes.items():
            through = next((one for one in _parents(path) if one in self.links and one not in nodes), None)
            if through:
                yield f"has {path!r}, and {through!r} is a symbolic link in a layer below"
            if isinstance(node, Symlink) and _climbs(path, node.target):
                yield f"has the symbolic link {path!r} to {node.target!r}, above the root"
            for name, _ in (node if isinstance(node, Meta) else node.meta).xattrs:
                if not name.startswith(XATTRS):
                    yield f"has {path!r} with the extended attribute {name}"

    def _apply(self, nodes: dict[str, File | Symlink | Meta]) -> None:
        """The links of this layer, and those below that it neither deletes nor replaces."""
        gone = {path for path, node in nodes.items() if not isinstance(node, Meta)}
        opaque = {path for path, node in nodes.items() if isinstance(node, Meta) and node.opaque}
        self.links = {
            path
            for path in self.links
            if path not in nodes and not any(one in gone or one in opaque for one in _parents(path))
        }
        self.links |= {path for path, node in nodes.items() if isinstance(node, Symlink)}


def _members(blob: BinaryIO, state: hashlib._Hash) -> dict[str, File | Symlink | Meta]:
    gauge = Gauge("the layer", Limits())

    def hashed() -> Iterator[bytes]:
        for piece in chunks(blob, gauge):
            state.update(piece)
            yield piece

    collector = Collector(gauge.archive, LAYER, _Nowhere())
    collector.add_all(TarReader(ChunkReader(hashed()), gauge.archive, gauge.limits))
    return collector.nodes()


def _parents(path: str) -> Iterator[str]:
    """The directories above ``path``, nearest first; the root is ``""``."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _climbs(path: str, target: str) -> bool:
    """Whether a relative link steps above the root: tools that do not clamp it there would leave it."""
    depth = 0 if target.startswith("/") else path.count("/")
    for name in target.split("/"):
        depth += -1 if name == ".." else 0 if name in ("", ".") else 1
        if depth < 0:
            return True
    return False
