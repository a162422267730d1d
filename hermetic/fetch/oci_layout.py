"""OCI layouts as trees: reading descriptors strictly, and checking that a tree is what was pinned.

Guarantees: after ``check_layout`` every manifest the tree's index leads to is there, byte for byte the
one its digest names, and so is everything it refers to; nothing else lies in the layout.
Sources: OCI image specification 1.1 (descriptor.md, image-layout.md, manifest.md, image-index.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hermetic import tree
from hermetic.digest import Digest, parse_sha256
from hermetic.errors import FetchError, UserError
from hermetic.store.protocols import BlobStore

MANIFEST_LIMIT = 4 << 20  # bytes, what registries take at most
NESTING = 4  # indexes inside indexes
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to a blob. ``raw`` is the JSON object it came from."""

    media_type: str
    digest: Digest
    raw: Mapping[str, Any]

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES

    @property
    def is_manifest(self) -> bool:
        return self.media_type in MANIFESTS


def descriptor(data: Any, where: str) -> Descriptor:
    """Read a descriptor; refuses missing fields, other hashes than SHA-256 and impossible sizes."""
    if not isinstance(data, dict) or not isinstance(data.get("mediaType"), str):
        raise FetchError(f"{where}: not a descriptor with a mediaType")
    digest, size = data.get("digest"), data.get("size")
    if not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise FetchError(f"{where}: not a sha256 digest: {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise FetchError(f"{where}: not a size: {size!r}")
    try:
        return Descriptor(data["mediaType"], Digest(parse_sha256(digest), size), data)
    except UserError as error:
        raise FetchError(f"{where}: {error.message}") from error


def document(data: bytes, media_type: str, where: str) -> dict[str, Any]:
    """Parse a manifest or an index and check that it says it is what it was served as."""
    if len(data) > MANIFEST_LIMIT:
        raise FetchError(f"{where}: {len(data)} bytes, and manifests have at most {MANIFEST_LIMIT}")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{where}: not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("schemaVersion") != 2:
        raise FetchError(f"{where}: not an OCI manifest or index (schemaVersion 2)")
    if content.get("mediaType", media_type) != media_type:
        raise FetchError(f"{where}: says it is {content['mediaType']}, and was announced as {media_type}")
    if ("manifests" in content) == ("layers" in content or "config" in content):
        raise FetchError(f"{where}: is neither clearly a manifest nor clearly an index")
    if ("manifests" in content) != (media_type in INDEXES):
        raise FetchError(f"{where}: its content does not fit its media type {media_type}")
    return content


def media_type_of(data: bytes) -> str:
    """The media type of a manifest or index by its content, for places that do not announce one."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    said = content.get("mediaType")
    return said if isinstance(said, str) else INDEXES[0] if "manifests" in content else MANIFESTS[0]


def references(content: Mapping[str, Any], where: str) -> list[Descriptor]:
    """What a manifest or index points to. Layers that live elsewhere (``urls``) are refused."""
    if "manifests" in content:
        listed: Iterable[Any] = content["manifests"] if isinstance(content["manifests"], list) else [None]
        found = [descriptor(item, where) for item in listed]
    else:
        layers = content.get("layers")
        if not isinstance(layers, list):
            raise FetchError(f"{where}: has no list of layers")
        found = [descriptor(item, where) for item in [content.get("config"), *layers]]
    for item in found:
        if item.raw.get("urls"):
            raise FetchError(f"{where}: {item.digest.oci} is a foreign layer, which no registry may pass on")
    return found


def platform_of(params: Mapping[str, Any]) -> str:
    """The platform a fetch asks for, "" for all of an index."""
    arch = params.get("arch")
    return str(params.get("platform") or (f"linux/{arch}" if arch else ""))


def choose(content: Mapping[str, Any], platform: str, where: str) -> Descriptor:
    """The manifest of an index for ``os/architecture[/variant]``."""
    wanted = platform.split("/")
    found = []
    for item in references(content, where):
        said = item.raw.get("platform") or {}
        if [said.get("os"), said.get("architecture"), said.get("variant")][: len(wanted)] == wanted:
            found.append(item)
    if not found:
        known = sorted({_platform(item.raw.get("platform") or {}) for item in references(content, where)})
        raise FetchError(f"{where}: has nothing for {platform}", hint=f"it has {', '.join(known)}")
    return found[0]


def _platform(said: Mapping[str, Any]) -> str:
    return "/".join(str(said[key]) for key in ("os", "architecture", "variant") if said.get(key)) or "no platform"


def layout_index(item: Descriptor) -> bytes:
    """``index.json`` of a layout that holds one image or index."""
    entry = {"digest": item.digest.oci, "mediaType": item.media_type, "size": item.digest.size}
    content = {"manifests": [entry], "mediaType": INDEXES[0], "schemaVersion": 2}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def check_layout(root: Digest, pinned: str, store: BlobStore, platform: str = "") -> None:
    """Check a fetched tree against its pin. With ``platform``, an index pinned leads to the one manifest
    the layout names. Raises FetchError."""
    blobs = _blobs(root, store)
    data = _at(root, "index.json", store)
    (top,) = references(document(data, INDEXES[0], "index.json"), "index.json")
    if top.digest.oci != pinned:
        selected = _pinned_manifest(pinned, blobs, store, platform) if platform else None
        if selected is None or selected.digest != top.digest:
            raise FetchError(f"the layout holds {top.digest.oci}, expected {pinned}")
    reached: set[str] = {parse_sha256(pinned)}
    pending = [(top, 0)]
    while pending:
        item, depth = pending.pop()
        if item.digest.hash in reached and depth != 0:
            continue
        reached.add(item.digest.hash)
        if blobs.get(item.digest.hash) != item.digest:
            raise FetchError(f"the layout lacks {item.digest.oci}, or has it with another size")
        if item.is_index or item.is_manifest:
            if depth > NESTING:
                raise FetchError(f"indexes are nested more than {NESTING} deep")
            content = document(store.read(item.digest), item.media_type, item.digest.oci)
            pending += [(inner, depth + 1) for inner in references(content, item.digest.oci)]
    if extra := sorted(blobs.keys() - reached):
        raise FetchError(f"the layout holds {extra[0]}, which nothing refers to")


def _pinned_manifest(pinned: str, blobs: Mapping[str, Digest], store: BlobStore, platform: str) -> Descriptor:
    digest = blobs.get(parse_sha256(pinned))
    if digest is None:
        raise FetchError(f"the layout lacks the pinned index {pinned}")
    data = store.read(digest)
    return choose(document(data, media_type_of(data), pinned), platform, pinned)


def _at(root: Digest, path: str, store: BlobStore) -> bytes:
    node = tree.lookup(root, path, store.read)
    if not isinstance(node, tree.File) or node.digest.size > MANIFEST_LIMIT:
        raise FetchError(f"not an OCI layout: {path} is missing or too large")
    return store.read(node.digest)


def _blobs(root: Digest, store: BlobStore) -> dict[str, Digest]:
    """The blobs of a layout by hash; each must be named by its own digest."""
    if json.loads(_at(root, "oci-layout", store)).get("imageLayoutVersion") != "1.0.0":
        raise FetchError("not an OCI layout of version 1.0.0")
    folder = tree.lookup(root, "blobs/sha256", store.read)
    if not isinstance(folder, tree.Subdir):
        raise FetchError("not an OCI layout: blobs/sha256 is missing")
    found = {}
    for name, node in tree.Directory.decode(store.read(folder.digest)).entries.items():
        if not isinstance(node, tree.File) or node.digest.hash != name:
            raise FetchError(f"blobs/sha256/{name} is not what its name says")
        found[name] = node.digest
    return found
