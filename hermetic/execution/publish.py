"""hb-out/: what was built, where people look for it. Links into the store, and OCI layouts.

Nothing a person put there is touched: only names hb itself made are replaced.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hermetic.action import Kind, TargetNode
from hermetic.errors import ActionError
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore, Stage


def publish(
    target: TargetNode, resolved: Resolved, out: Path, store: BlobStore, stage: Stage, derived: Path
) -> tuple[str, Path]:
    """Show a target's first output below ``out``; returns (digest to print, path)."""
    package, _, name = target.label.removeprefix("//").partition(":")
    place = out / package / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if target.layout in ("image", "index"):
        from hermetic.oci.layout import manifest_digest, write_layout

        _make_room(place, folder=True)
        write_layout(store, resolved.digest, place, derived)
        return manifest_digest(resolved.digest, store.read).oci, place
    if resolved.kind is Kind.TREE:
        target_path = stage.tree(resolved.digest)
    else:
        target_path = store.path(resolved.digest, executable=resolved.executable)
    _make_room(place, folder=False)
    _link(target_path, place)
    return f"sha256:{resolved.digest.hash}", place


def _make_room(place: Path, *, folder: bool) -> None:
    """Remove what hb left at ``place`` before; refuse to remove anything else."""
    if place.is_symlink():
        if folder:
            place.unlink()
    elif place.is_dir() and not folder:
        if (place / "oci-layout").exists():
            from hermetic.store.stage import remove_tree

            remove_tree(place)
        else:
            raise ActionError(f"{place} is a folder hb did not make", hint="move it away")
    elif place.exists() and not place.is_dir():
        raise ActionError(f"{place} is a file hb did not make", hint="move it away")


def _link(target: Path, place: Path) -> None:
    """A symlink, replaced in one step."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".hb-") as folder:
        temporary = Path(folder) / "link"
        os.symlink(target, temporary)
        os.replace(temporary, place)
