"""What differs between two trees. Equal directories are never opened, so the cost is that of the changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hermetic.digest import Digest
from hermetic.tree import Directory, File, Load, Node, Subdir, Symlink


@dataclass(frozen=True, slots=True)
class Difference:
    """``what``: added, removed, edited, made executable, no longer executable, mode, owner, link or type.
    Sizes are bytes, None for what is not a file or not there."""

    path: str
    what: str
    old_size: int | None = None
    new_size: int | None = None
    detail: str = ""


def tree_differences(old: Digest, new: Digest, load: Load) -> Iterator[Difference]:
    """In the order of paths; a directory that is only there on one side is reported file by file.
    Raises what ``load`` raises when a directory is not in the store."""
    pending: list[tuple[str, Node | None, Node | None]] = [("", Subdir(old), Subdir(new))]
    while pending:  # no recursion: depth costs nothing
        path, before, after = pending.pop()
        if before == after:
            continue
        if not isinstance(before, Subdir) and not isinstance(after, Subdir):
            yield _leaf(path, before, after)
            continue
        if (before is not None and not isinstance(before, Subdir)) or (
            after is not None and not isinstance(after, Subdir)
        ):
            yield Difference(path, "type", _size(before), _size(after), f"{_kind(before)} → {_kind(after)}")
            continue
        low = Directory.decode(load(before.digest) if before else b"")
        high = Directory.decode(load(after.digest) if after else b"")
        if before and after and low.meta != high.meta:
            yield Difference(path or ".", "mode", detail=f"{low.mode:o} → {high.mode:o}")
        for one, here in ((before, low), (after, high)):
            if one is not None and not here.entries and (before is None or after is None):
                yield Difference(f"{path}/", "removed" if after is None else "added")
        names = sorted({*low.entries, *high.entries}, reverse=True)
        pending += [(f"{path}/{n}" if path else n, low.entries.get(n), high.entries.get(n)) for n in names]


def _leaf(path: str, old: Node | None, new: Node | None) -> Difference:
    before, after = _size(old), _size(new)
    if old is None or new is None:
        return Difference(path, "added" if old is None else "removed", before, after)
    if isinstance(old, File) and isinstance(new, File):
        if old.digest != new.digest:
            return Difference(path, "edited", before, after)
        if old.executable != new.executable:
            return Difference(path, "made executable" if new.executable else "no longer executable", before, after)
        if (old.meta.uid, old.meta.gid) != (new.meta.uid, new.meta.gid):
            owners = f"{old.meta.uid}:{old.meta.gid} → {new.meta.uid}:{new.meta.gid}"
            return Difference(path, "owner", before, after, owners)
        return Difference(path, "mode", before, after, f"{old.mode:o} → {new.mode:o}")
    if isinstance(old, Symlink) and isinstance(new, Symlink):
        return Difference(path, "link", detail=f"{old.target} → {new.target}")
    return Difference(path, "type", before, after, f"{_kind(old)} → {_kind(new)}")


def _size(node: Node | None) -> int | None:
    return node.digest.size if isinstance(node, File) else None


def _kind(node: Node | None) -> str:
    return "file" if isinstance(node, File) else "link" if isinstance(node, Symlink) else "directory"
