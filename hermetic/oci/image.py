"""Images: config and manifest from layers, an index from images. All of it cached, none of it large.

An image tree holds ``manifest.json``, ``config.json``, ``platform.json`` and, per layer in order,
``layers/NNN/{descriptor,recipe,tree}``; ``blobs/<sha256>`` are layers of a base image, untouched.
``created`` and every history time are SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.epoch import SOURCE_DATE_EPOCH
from hermetic.errors import ActionError
from hermetic.oci.base import Base, read_base
from hermetic.oci.layer import canonical
from hermetic.store.operation import Resolved, Workbench
from hermetic.tree import File, Load, Meta, Subdir, Symlink

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CREATED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(SOURCE_DATE_EPOCH))
VARIANTS = {"arm64": "v8"}
MAX_LAYERS = 127


def image(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """The operation. Parameters: ``config`` (env, user, entrypoint, cmd, workdir, labels, ports),
    ``annotations``, ``arch``."""
    store = bench.store
    numbers = sorted({path.split("/")[2] for path in inputs if path.startswith("/layers/")})
    layers = [json.loads(store.read(inputs[f"/layers/{n}/descriptor"].digest)) for n in numbers]
    base = read_base(inputs["/base"].digest, params["arch"], store) if "/base" in inputs else Base()
    if len(base.layers) + len(layers) > MAX_LAYERS:
        raise ActionError(f"{len(base.layers) + len(layers)} layers are more than runtimes take ({MAX_LAYERS})")
    config = canonical(make_config(params, layers, base))
    manifest = {
        "annotations": dict(params["annotations"]),
        "config": {"digest": Digest.of(config).oci, "mediaType": CONFIG_TYPE, "size": len(config)},
        "layers": [*base.layers, *({k: one[k] for k in ("digest", "mediaType", "size")} for one in layers)],
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    }
    if not manifest["annotations"]:
        del manifest["annotations"]
    nodes: dict[str, File | Symlink | Meta] = {
        "manifest.json": File(store.put(canonical(manifest))),
        "config.json": File(store.put(config)),
        "platform.json": File(store.put(canonical(platform(params["arch"])))),
    }
    nodes.update({f"blobs/{name}": File(digest) for name, digest in base.blobs.items()})
    for n in numbers:
        nodes[f"layers/{n}/descriptor"] = File(inputs[f"/layers/{n}/descriptor"].digest)
        nodes[f"layers/{n}/recipe"] = File(inputs[f"/layers/{n}/recipe"].digest)
    trees = [tree.graft(f"/layers/{n}/tree", Subdir(inputs[f"/layers/{n}/tree"].digest), store.put) for n in numbers]
    root = tree.merge([tree.build(nodes, store.put), *trees], store.read, store.put)
    return {"image": Resolved(Kind.TREE, root)}


def platform(arch: str) -> dict[str, str]:
    found = {"architecture": arch, "os": "linux"}
    return {**found, "variant": VARIANTS[arch]} if arch in VARIANTS else found


def make_config(params: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], base: Base) -> dict[str, Any]:
    """The image configuration: the base's, overridden where this image says something."""
    wanted = params["config"]
    inherited = dict(base.config.get("config", {}))
    env = {line.partition("=")[0]: line for line in [*inherited.get("Env", []), *wanted["env"]]}
    settings: dict[str, Any] = {**inherited, "Env": list(env.values())}
    for name, key in (("User", "user"), ("WorkingDir", "workdir"), ("Entrypoint", "entrypoint"), ("Cmd", "cmd")):
        if wanted.get(key):
            settings[name] = wanted[key]
    if wanted.get("entrypoint") and not wanted.get("cmd"):
        settings.pop("Cmd", None)  # a new entrypoint makes the base's arguments meaningless
    if wanted.get("labels"):
        settings["Labels"] = {**inherited.get("Labels", {}), **wanted["labels"]}
    if wanted.get("ports"):
        settings["ExposedPorts"] = {port: {} for port in wanted["ports"]}
    history = [{"created": CREATED, "created_by": one["created_by"]} for one in layers]
    diff_ids = [one["diff_id"] for one in layers]
    return {
        **platform(params["arch"]),
        "config": settings,
        "created": CREATED,
        "history": [*base.config.get("history", []), *history],
        "rootfs": {"diff_ids": [*base.config.get("rootfs", {}).get("diff_ids", []), *diff_ids], "type": "layers"},
    }


def index(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """The operation: images at ``/00``, ``/01``, … become one index; each must be for another platform."""
    store = bench.store
    manifests: list[dict[str, Any]] = []
    for name in sorted(inputs):
        data = read_json(inputs[name].digest, "manifest.json", store.read)[1]
        where = read_json(inputs[name].digest, "platform.json", store.read)[0]
        digest = Digest.of(data)
        if any(one["platform"] == where for one in manifests):
            raise ActionError(f"two images of the index are for {where['architecture']}")
        manifests.append({"digest": digest.oci, "mediaType": MANIFEST_TYPE, "platform": where, "size": digest.size})
    document: dict[str, Any] = {"manifests": manifests, "mediaType": INDEX_TYPE, "schemaVersion": 2}
    if params.get("annotations"):
        document["annotations"] = dict(params["annotations"])
    top = tree.build({"index.json": File(store.put(canonical(document)))}, store.put)
    parts = [tree.graft(f"/images/{name.strip('/')}", Subdir(inputs[name].digest), store.put) for name in inputs]
    return {"index": Resolved(Kind.TREE, tree.merge([top, *parts], store.read, store.put))}


def read_json(root: Digest, path: str, load: Load) -> tuple[Any, bytes]:
    node = tree.lookup(root, path, load)
    if not isinstance(node, File):
        raise ActionError(f"not an image tree: it has no {path}")
    data = load(node.digest)
    return json.loads(data), data
