"""Reading a whole store again: what is rotten, torn or incomplete.

Guarantees: nothing is changed unless asked. With ``repair`` a blob with other bytes than its name goes to
``quarantine/`` and with it every staged tree that shares its file; a result that cannot be read or that
names what is not here goes. What went is made, or fetched, again when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.digest import Digest
from hermetic.errors import HbError
from hermetic.store.disk import DiskStore
from hermetic.store.gc import needed
from hermetic.store.protocols import MissingBlob
from hermetic.store.stage import remove_tree
from hermetic.tree import Directory, File, Subdir

QUARANTINE = "quarantine"


@dataclass
class Found:
    """``rotten``: files below cas/ and exec/; ``broken``: results that cannot be read; ``incomplete``: keys
    of results that name what is not here; ``trees``: staged trees with rotten or unknown files."""

    blobs: int = 0
    size: int = 0  # bytes read
    rotten: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    incomplete: list[Path] = field(default_factory=list)
    trees: list[Path] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.rotten or self.broken or self.incomplete or self.trees)


def verify(store: DiskStore, *, repair: bool = False) -> Found:
    found = Found()
    for kind in ("cas", "exec"):
        for path in _files(store.root / kind):
            with path.open("rb") as stream:
                digest = Digest.of_file(stream)
            found.blobs += 1
            found.size += digest.size
            if digest.hash != path.name:
                found.rotten.append(path)
    if repair:
        for path in found.rotten:
            _set_aside(store.root, path)
    rotten = {path.name for path in found.rotten}
    _check_results(store, found, rotten, repair)
    for tree in [tree for shard in _below(store.root / "stage") for tree in _below(shard)]:
        if not _sound(store, tree, rotten):
            found.trees.append(tree)
            if repair:
                remove_tree(tree)
    return found


def _check_results(store: DiskStore, found: Found, rotten: set[str], repair: bool) -> None:
    for path in _files(store.root / "ac"):
        result = store.get(Digest(path.name, 0))
        if result is None:
            found.broken.append(path)
        elif any(digest.hash in rotten or not store.has(digest) for digest, _ in needed(result)):
            if _is_remote(result):
                continue  # its outputs may be in a remote cache
            found.incomplete.append(path)
        else:
            continue
        if repair:
            path.unlink(missing_ok=True)


def _is_remote(result: object) -> bool:
    from hermetic.proto import hb_pb2
    from hermetic.proto import reapi_pb2 as pb

    assert isinstance(result, pb.ActionResult)
    return any(one.Is(hb_pb2.Whereabouts.DESCRIPTOR) for one in result.execution_metadata.auxiliary_metadata)


def _sound(store: DiskStore, staged: Path, rotten: set[str]) -> bool:
    """Whether a staged tree's files are none of the rotten ones: they are links of them."""
    pending = [staged.name]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        digest = store.find_sha256(name)
        try:
            entries = Directory.decode(store.read(digest)).entries if digest is not None else None
        except (MissingBlob, HbError):
            entries = None
        if entries is None or name in rotten:
            return False
        for node in entries.values():
            if isinstance(node, File) and node.digest.hash in rotten:
                return False
            if isinstance(node, Subdir):
                pending.append(node.digest.hash)
    return True


def _set_aside(root: Path, path: Path) -> None:
    folder = root / QUARANTINE
    folder.mkdir(exist_ok=True)
    path.rename(folder / f"{path.parent.parent.name}-{path.name}")


def _files(folder: Path) -> Iterator[Path]:
    for shard in _below(folder):
        yield from sorted(one for one in shard.iterdir() if one.is_file())


def _below(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
