"""A tar that ``docker load`` reads, of any age of Docker: uncompressed layers, one manifest.json."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from hermetic.digest import CHUNK, Digest
from hermetic.oci.compress import decompress
from hermetic.oci.layer import canonical
from hermetic.oci.layout import blob, read_layout
from hermetic.oci.tar import BLOCK, END, REGULAR, Entry, header


def docker_archive(layout: Path, out: Path, tag: str) -> None:
    """Write the archive of a layout folder with one image. ``tag``: name:version."""
    found = read_layout(layout)
    config = found["manifest"]["config"]["digest"].removeprefix("sha256:")
    diff_ids = [one.removeprefix("sha256:") for one in found["config"]["rootfs"]["diff_ids"]]
    manifest = canonical(
        [{"Config": f"{config}.json", "Layers": [f"{one}.tar" for one in diff_ids], "RepoTags": [tag]}]
    )
    with out.open("wb") as stream:
        _member(stream, f"{config}.json", blob(layout, config).read_bytes())
        done: set[str] = set()
        for diff_id, layer in zip(diff_ids, found["manifest"]["layers"], strict=True):
            if diff_id not in done:
                done.add(diff_id)
                _layer(stream, f"{diff_id}.tar", blob(layout, layer["digest"]), layer["mediaType"])
        _member(stream, "manifest.json", manifest)
        stream.write(END)


def _member(stream: BinaryIO, name: str, data: bytes) -> None:
    stream.write(header(Entry(name, REGULAR, 0o644, content=Digest.of(data))))
    stream.write(data + bytes(-len(data) % BLOCK))


def _layer(stream: BinaryIO, name: str, path: Path, media_type: str) -> None:
    """A layer's size is known only after it is unpacked: the header is written last."""
    start = stream.tell()
    stream.write(bytes(BLOCK))
    size = 0
    with decompress(str(path), media_type) as source:
        while piece := source.read(CHUNK):
            stream.write(piece)
            size += len(piece)
    stream.write(bytes(-size % BLOCK))
    end = stream.tell()
    stream.seek(start)
    stream.write(header(Entry(name, REGULAR, 0o644, content=Digest("0" * 64, size))))
    stream.seek(end)
