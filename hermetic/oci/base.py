"""Base images: what an image takes over from one, and its root filesystem as a tree.

Guarantees: layers are taken over by digest, untouched; what names them follows the OCI specification, also
where the base was made in Docker's older format (the same bytes under other media types). The root
filesystem is what a container would see: layers applied in order, deletions applied and gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hermetic import tree
from hermetic.action import Kind
from hermetic.archive.tree import Options
from hermetic.archive.unpack import unpack_blob
from hermetic.digest import Digest, parse_sha256
from hermetic.errors import ActionError
from hermetic.oci.compress import MEDIA_TYPES
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.protocols import BlobStore
from hermetic.tree import File

AS_OCI = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": MEDIA_TYPES["gzip"],
    "application/vnd.docker.image.rootfs.diff.tar": MEDIA_TYPES["none"],
}
LAYER = Options(format="tar", rootfs=True, whiteouts=True, keep_owners=True, keep_modes=True, keep_xattrs=True)


@dataclass(frozen=True)
class Base:
    """What is taken over from a base image. ``blobs``: its layers by their hex digest."""

    config: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Any]] = ()
    blobs: Mapping[str, Digest] = field(default_factory=dict)


def base_rootfs(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """The operation: the root filesystem of the OCI layout at ``/base``. Parameter: ``arch``."""
    store = bench.store
    base = read_base(inputs["/base"].digest, params["arch"], store)
    trees = [
        unpack_blob(base.blobs[parse_sha256(one["digest"])], LAYER, store, f"layer {one['digest'][:19]}")
        for one in base.layers
    ]
    merged = tree.merge(trees, store.read, store.put, replace_files=True)
    return {"out": Resolved(Kind.TREE, tree.settled(merged, store.read, store.put))}


def read_base(layout: Digest, arch: str, store: BlobStore) -> Base:
    """The manifest for ``arch`` in an OCI layout tree."""

    def blob(digest: str) -> tuple[Digest, bytes]:
        node = tree.lookup(layout, f"blobs/sha256/{parse_sha256(digest)}", store.read)
        if not isinstance(node, File):
            raise ActionError(f"the base image has no blob {digest}")
        return node.digest, store.read(node.digest)

    node = tree.lookup(layout, "index.json", store.read)
    if not isinstance(node, File):
        raise ActionError("the base image is not an OCI layout: it has no index.json")
    document = json.loads(store.read(node.digest))
    for _ in range(3):
        if "manifests" not in document:
            break
        document = json.loads(blob(_for_arch(document["manifests"], arch))[1])
    config = json.loads(blob(document["config"]["digest"])[1])
    layers = [{**one, "mediaType": AS_OCI.get(one["mediaType"], one["mediaType"])} for one in document["layers"]]
    blobs = {parse_sha256(one["digest"]): blob(one["digest"])[0] for one in layers}
    if config.get("architecture") != arch:
        raise ActionError(f"the base image is for {config.get('architecture')}, not for {arch}")
    if len(config["rootfs"]["diff_ids"]) != len(layers):
        raise ActionError(f"the base image has {len(layers)} layers and {len(config['rootfs']['diff_ids'])} diff ids")
    return Base(config, layers, blobs)


def _for_arch(manifests: Sequence[Mapping[str, Any]], arch: str) -> str:
    fitting = [one for one in manifests if one.get("platform", {}).get("architecture", arch) == arch]
    if len(fitting) != 1:
        raise ActionError(
            f"the base image has {len(fitting)} manifests for {arch}", hint="pin the manifest's own digest"
        )
    return str(fitting[0]["digest"])
