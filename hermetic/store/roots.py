"""What hb-out/ folders show stays in the store: each is registered here, and looked at before things go."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hermetic.digest import Digest
from hermetic.store.disk import DiskStore

FOLDER = "roots"


def register(root: Path, out: Path) -> None:
    """Remember that links below ``out`` lead into the store."""
    place = root / FOLDER / hashlib.sha256(os.fsencode(out)).hexdigest()[:16]
    if not place.exists():
        with suppress(OSError):
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(os.fsencode(out))


def pinned(store: DiskStore) -> tuple[list[Digest], list[Digest]]:
    """(roots of trees, blobs) that registered folders show. Folders that are gone are forgotten."""
    trees: list[Digest] = []
    blobs: list[Digest] = []
    for out in _registered(store.root):
        for target in _links(out):
            if not target.is_relative_to(store.root):
                continue
            kind, name = target.relative_to(store.root).parts[0], target.name
            digest = store.find_sha256(name)
            if digest is not None:
                (trees if kind == "stage" else blobs).append(digest)
    return trees, blobs


def _registered(root: Path) -> Iterator[Path]:
    folder = root / FOLDER
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        out = Path(os.fsdecode(place.read_bytes()))
        if out.is_dir():
            yield out
        else:
            place.unlink(missing_ok=True)


def _links(out: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(out):
        for name in (*folders, *files):
            place = os.path.join(folder, name)
            if os.path.islink(place):
                yield Path(os.readlink(place))
