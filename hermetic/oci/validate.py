"""A strict reader of OCI layouts: everything that is wrong with one, as a list.

Checks what registries and runtimes rely on and rarely verify: digests and sizes of every blob, diff ids
both ways, media types that agree wherever they are said, one platform per manifest, no repeated layer.
Source: OCI image specification 1.1.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermetic.digest import CHUNK
from hermetic.oci.compress import MEDIA_TYPES, decompress
from hermetic.oci.image import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE, MAX_LAYERS

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
MAX_MANIFEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where in the layout."""

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


def validate_layout(path: Path) -> list[Finding]:
    """Every finding; an empty list means the layout is sound."""
    try:
        version = json.loads((path / "oci-layout").read_bytes()).get("imageLayoutVersion")
        index = json.loads((path / "index.json").read_bytes())
    except (OSError, ValueError, AttributeError) as error:
        return [Finding("oci-layout", f"is not a layout: {error}")]
    found = [] if version == "1.0.0" else [Finding("oci-layout", f"has version {version!r}")]
    return [*found, *_index(path, index, "index.json", 0, set())]


def _index(path: Path, index: Any, where: str, depth: int, seen: set[str]) -> Iterator[Finding]:
    if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
        yield Finding(where, "has no list of manifests")
        return
    if index.get("schemaVersion") != 2:
        yield Finding(where, f"has schemaVersion {index.get('schemaVersion')!r}")
    if index.get("mediaType", INDEX_TYPE) != INDEX_TYPE:
        yield Finding(where, f"has mediaType {index['mediaType']!r}")
    if "layers" in index or "config" in index:
        yield Finding(where, "is an index and a manifest at once")
    platforms = []
    for entry in index["manifests"]:
        problems = list(_descriptor(path, entry, where))
        yield from problems
        if problems:
            continue
        platforms.append(json.dumps(entry.get("platform"), sort_keys=True))
        digest = entry["digest"]
        if digest in seen or depth > 2:
            yield Finding(where, f"names {digest[:19]} again inside itself")
            continue
        document = _json(path, digest)
        inner = {*seen, digest}
        if entry["mediaType"] == INDEX_TYPE:
            yield from _index(path, document, digest[:19], depth + 1, inner)
        elif entry["mediaType"] == MANIFEST_TYPE:
            yield from _manifest(path, document, digest[:19], entry)
        else:
            yield Finding(where, f"names a manifest of mediaType {entry['mediaType']!r}")
    if len(platforms) != len(set(platforms)):
        yield Finding(where, "has two manifests for one platform")


def _descriptor(path: Path, entry: Any, where: str) -> Iterator[Finding]:
    """A descriptor, and the blob it names."""
    if not isinstance(entry, dict):
        yield Finding(where, "has a descriptor that is no object")
        return
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        yield Finding(where, f"names the digest {digest!r}")
        return
    if type(size) is not int or size < 0 or size >= 1 << 63:
        yield Finding(where, f"gives {digest[:19]} the size {size!r}")
        return
    if not isinstance(entry.get("mediaType"), str):
        yield Finding(where, f"gives {digest[:19]} no mediaType")
    if entry.get("urls"):
        yield Finding(where, f"wants {digest[:19]} from elsewhere")
    blob = _blob(path, digest)
    if not blob.is_file() or blob.is_symlink():
        yield Finding(where, f"names {digest[:19]}, which is not there")
        return
    if blob.stat().st_size != size:
        yield Finding(where, f"gives {digest[:19]} the size {size}, it has {blob.stat().st_size}")
    if _sha256(blob) != digest:
        yield Finding(digest[:19], "does not have the digest of its name")
    if "data" in entry:
        yield Finding(where, f"embeds {digest[:19]}")


def _manifest(path: Path, manifest: Any, where: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("layers"), list):
        yield Finding(where, "is not a manifest")
        return
    if _blob(path, entry["digest"]).stat().st_size > MAX_MANIFEST:
        yield Finding(where, "is larger than registries take")
    if manifest.get("schemaVersion") != 2:
        yield Finding(where, f"has schemaVersion {manifest.get('schemaVersion')!r}")
    if manifest.get("mediaType", MANIFEST_TYPE) != MANIFEST_TYPE:
        yield Finding(where, f"says it is {manifest['mediaType']!r}, its descriptor says {MANIFEST_TYPE!r}")
    if "manifests" in manifest:
        yield Finding(where, "is an index and a manifest at once")
    if len(manifest["layers"]) > MAX_LAYERS:
        yield Finding(where, f"has {len(manifest['layers'])} layers")
    problems = [one for d in (manifest.get("config"), *manifest["layers"]) for one in _descriptor(path, d, where)]
    yield from problems
    if problems:
        return
    if manifest["config"]["mediaType"] != CONFIG_TYPE:
        yield Finding(where, f"has a configuration of mediaType {manifest['config']['mediaType']!r}")
        return
    yield from _config(path, manifest, _json(path, manifest["config"]["digest"]), where, entry)


def _config(path: Path, manifest: Any, config: Any, where: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    if not isinstance(config, dict) or not isinstance(config.get("rootfs"), dict):
        yield Finding(where, "has no usable configuration")
        return
    if config["rootfs"].get("type") != "layers":
        yield Finding(where, f"has a rootfs of type {config['rootfs'].get('type')!r}")
    for name in ("architecture", "os"):
        if not config.get(name):
            yield Finding(where, f"has a configuration without {name}")
        elif entry.get("platform") and entry["platform"].get(name) != config[name]:
            yield Finding(where, f"is for {config[name]}, its descriptor says {entry['platform'].get(name)}")
    diff_ids = config["rootfs"].get("diff_ids")
    layers = manifest["layers"]
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
        yield Finding(where, f"has {len(layers)} layers and {len(diff_ids or [])} diff ids")
        return
    steps = [one for one in config.get("history", []) if not one.get("empty_layer")]
    if config.get("history") and len(steps) != len(layers):
        yield Finding(where, f"has {len(layers)} layers and {len(steps)} history entries that make one")
    digests = [one["digest"] for one in layers]
    if len(set(digests)) != len(digests):
        yield Finding(where, "has a layer twice")
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        if layer["mediaType"] not in MEDIA_TYPES.values():
            yield Finding(where, f"has a layer of mediaType {layer['mediaType']!r}")
            continue
        found = _diff_id(_blob(path, layer["digest"]), layer["mediaType"])
        if found != diff_id:
            yield Finding(layer["digest"][:19], f"has diff id {found}, the configuration says {diff_id}")


def _diff_id(blob: Path, media_type: str) -> str:
    state = hashlib.sha256()
    try:
        with decompress(str(blob), media_type) as stream:
            while piece := stream.read(CHUNK):
                state.update(piece)
    except Exception as error:  # each codec has errors of its own
        return f"none ({error})"
    return f"sha256:{state.hexdigest()}"


def _blob(path: Path, digest: str) -> Path:
    return path / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _sha256(blob: Path) -> str:
    state = hashlib.sha256()
    with blob.open("rb") as stream:
        while piece := stream.read(CHUNK):
            state.update(piece)
    return f"sha256:{state.hexdigest()}"


def _json(path: Path, digest: str) -> Any:
    try:
        return json.loads(_blob(path, digest).read_bytes())
    except ValueError:
        return None
