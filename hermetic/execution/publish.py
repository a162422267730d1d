"""hb-out/: what was built, where people look for it. Links into the store, and OCI layouts.

Nothing a person put there is touched: only names hb itself made are replaced.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hermetic.action import Kind
from hermetic.errors import ActionError
from hermetic.label import Label
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore, Stage
from hermetic.store.stage import remove_tree


class Named(Protocol):
    """A target as far as showing it goes: a TargetNode, or the row of a snapshot."""

    @property
    def label(self) -> str: ...
    @property
    def layout(self) -> str: ...


def publish(
    target: Named, resolved: Resolved, out: Path, store: BlobStore, stage: Stage, derived: Path
) -> tuple[str, Path]:
    """Show a target's first output below ``out``; returns (digest to print, path)."""
    label = Label.parse(target.label)  # checked again: the parent trusts nothing that ran BUILD files
    place = _place(out, label.package, label.name)
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


def digest_of(target: Named, resolved: Resolved, store: BlobStore) -> str:
    """The digest ``publish`` returns, without publishing."""
    if target.layout in ("image", "index"):
        from hermetic.oci.layout import manifest_digest

        return manifest_digest(resolved.digest, store.read).oci
    return f"sha256:{resolved.digest.hash}"


def depth(text: str) -> int:
    """How many folders below hb-out/ a target is shown."""
    label = Label.parse(text)
    return f"{label.package}/{label.name}".strip("/").count("/")


def shown(target: Named, out: Path) -> Path:
    """Where ``publish`` showed a target last."""
    label = Label.parse(target.label)
    place = out / label.package / label.name
    aside = place.with_name(f":{place.name}")
    return aside if place.is_dir() and not place.is_symlink() and aside.exists() else place


def _place(out: Path, package: str, name: str) -> Path:
    """Where a target is shown. A folder on the way that was another target's result gives way, and a
    target whose place is a package's folder gets a name no label has: //a:b and //a/b:c can both be
    shown when the deeper package is shown first."""
    place = out / package / name
    if out.exists() and not out.is_dir():
        raise ActionError(f"{out} is a file hb did not make", hint="move it away")
    for folder in place.relative_to(out).parents:
        if folder != Path("."):
            _clear(out / folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink() and not (place / "oci-layout").exists():
        return place.with_name(f":{place.name}")
    return place


def _clear(folder: Path) -> None:
    """Nothing is ever written through a link: it leads into the store."""
    if folder.is_symlink():
        folder.unlink()
    elif (folder / "oci-layout").exists():
        remove_tree(folder)
    elif folder.exists() and not folder.is_dir():
        raise ActionError(f"{folder} is a file hb did not make", hint="move it away")


def _make_room(place: Path, *, folder: bool) -> None:
    """Remove what hb left at ``place`` before; refuse to remove anything else."""
    if place.is_symlink():
        if folder:
            place.unlink()
    elif place.is_dir() and not folder:
        if (place / "oci-layout").exists():
            remove_tree(place)
        else:
            raise ActionError(f"{place} is a folder hb did not make", hint="move it away")
    elif place.exists() and not place.is_dir():
        raise ActionError(f"{place} is a file hb did not make", hint="move it away")


def _link(target: Path, place: Path) -> None:
    """A symlink, replaced in one step."""
    try:
        if os.readlink(place) == str(target):
            return
    except OSError:  # there is none yet
        with suppress(FileExistsError):
            os.symlink(target, place)
            return
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".hb-") as folder:
        temporary = Path(folder) / "link"
        os.symlink(target, temporary)
        os.replace(temporary, place)
