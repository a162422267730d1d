"""OCI image layouts on disk: what skopeo, podman and umoci read.

Guarantees: the folder is replaced in one step and is complete; layer blobs are hard links to the
derived files where possible, and are made again from their recipes, and checked, when they are gone.
Writing an unchanged layout again only compares its index.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hermetic import tree
from hermetic.digest import Digest
from hermetic.errors import ActionError, InternalError
from hermetic.oci.image import INDEX_TYPE, MANIFEST_TYPE, read_json
from hermetic.oci.layer import Recipe, blob_path, canonical, pack
from hermetic.store.protocols import BlobStore
from hermetic.store.remote.turns import in_turn
from hermetic.store.stage import remove_tree
from hermetic.tree import Directory, File, Load, Subdir

AHEAD = 2  # layers at the same time: while one is compressed, the files of the next come from a remote
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def manifest_digest(root: Digest, load: Load) -> Digest:
    """The digest people know an image (or index) tree by."""
    name = "manifest.json" if tree.lookup(root, "manifest.json", load) else "index.json"
    return Digest.of(read_json(root, name, load)[1])


def write_layout(store: BlobStore, root: Digest, dest: Path, derived: Path) -> None:
    """Make ``dest`` the OCI layout of an image or index tree."""
    images = list(_images(root, store))
    is_index = not tree.lookup(root, "manifest.json", store.read)
    top = read_json(root, "index.json" if is_index else "manifest.json", store.read)[1]
    entry: dict[str, Any] = {
        "digest": Digest.of(top).oci,
        "mediaType": INDEX_TYPE if is_index else MANIFEST_TYPE,
        "size": len(top),
    }
    if not is_index:
        entry["platform"] = read_json(root, "platform.json", store.read)[0]
    document = canonical({"manifests": [entry], "mediaType": INDEX_TYPE, "schemaVersion": 2})
    if _same(dest / "index.json", document):
        return
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=".hb-") as folder:
        new = Path(folder) / "layout"
        blobs = new / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        (new / "oci-layout").write_bytes(LAYOUT)
        for one in images:
            _write_image(one, blobs, store, derived)
        (blobs / Digest.of(top).hash).write_bytes(top)
        (new / "index.json").write_bytes(document)
        _swap(new, dest)


def _images(root: Digest, store: BlobStore) -> Iterator[Digest]:
    """The image trees of an image or index tree."""
    inner = tree.lookup(root, "images", store.read)
    if not isinstance(inner, Subdir):
        yield root
        return
    for node in Directory.decode(store.read(inner.digest)).entries.values():
        if isinstance(node, Subdir):
            yield node.digest


def _write_image(root: Digest, blobs: Path, store: BlobStore, derived: Path) -> None:
    manifest, data = read_json(root, "manifest.json", store.read)
    (blobs / Digest.of(data).hash).write_bytes(data)
    config = read_json(root, "config.json", store.read)[1]
    (blobs / Digest.of(config).hash).write_bytes(config)
    for layer in in_turn(lambda number: _brought(root, number, store, derived), layer_numbers(root, store.read), AHEAD):
        _link(layer_file(*layer, store, derived), blobs)
    for one in manifest["layers"]:
        name = one["digest"].removeprefix("sha256:")
        if not (blobs / name).exists():
            node = tree.lookup(root, f"blobs/{name}", store.read)
            if not isinstance(node, File):
                raise ActionError(f"the image has no layer {one['digest']}")
            shutil.copyfile(store.path(node.digest), blobs / name)


def _brought(root: Digest, number: str, store: BlobStore, derived: Path) -> tuple[dict[str, Any], Recipe]:
    """A layer's descriptor and recipe, when its files are here or the layer itself is."""
    descriptor = read_json(root, f"layers/{number}/descriptor", store.read)[0]
    recipe = Recipe.decode(read_json(root, f"layers/{number}/recipe", store.read)[1])
    if not _is_there(descriptor, derived):
        store.want_tree(recipe.tree)
    return descriptor, recipe


def _is_there(descriptor: dict[str, Any], derived: Path) -> bool:
    path = blob_path(derived, descriptor["digest"])
    return path.exists() and path.stat().st_size == descriptor["size"]


def layer_numbers(root: Digest, load: Load) -> list[str]:
    node = tree.lookup(root, "layers", load)
    return sorted(Directory.decode(load(node.digest)).entries) if isinstance(node, Subdir) else []


def layer_file(descriptor: dict[str, Any], recipe: Recipe, store: BlobStore, derived: Path) -> Path:
    """The compressed layer, made again when it is gone; see ``_brought``."""
    path = blob_path(derived, descriptor["digest"])
    if _is_there(descriptor, derived):
        return path
    written = pack(recipe, store, derived)
    if written.digest.oci != descriptor["digest"]:
        raise InternalError(
            f"the layer of {recipe.tree} was {descriptor['digest']} and is now {written.digest.oci}",
            hint="the encoder has changed; build the image again",
        )
    return path


def _link(source: Path, folder: Path) -> None:
    place = folder / source.name
    if place.exists():
        return
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)


def _same(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _swap(new: Path, dest: Path) -> None:
    """Put ``new`` in the place of an older layout; refuse to remove anything that is not one."""
    if dest.exists():
        if not (dest / "oci-layout").exists() and any(dest.iterdir()):
            raise ActionError(f"{dest} is a folder hb did not make", hint="move it away")
        old = new.parent / "old"
        os.rename(dest, old)
        os.rename(new, dest)
        remove_tree(old)
    else:
        os.rename(new, dest)


def read_layout(path: Path) -> dict[str, Any]:
    """The one manifest of a layout folder, with its config, as parsed JSON."""
    index = json.loads((path / "index.json").read_bytes())
    manifest = json.loads(blob(path, index["manifests"][0]["digest"]).read_bytes())
    config = json.loads(blob(path, manifest["config"]["digest"]).read_bytes())
    return {"descriptor": index["manifests"][0], "manifest": manifest, "config": config}


def blob(path: Path, digest: str) -> Path:
    return path / "blobs" / "sha256" / digest.removeprefix("sha256:")
