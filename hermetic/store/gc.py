"""Making room: results nobody used for long go, and with them the blobs that no other result needs.

Guarantees: what is pinned stays, whatever the limits; of the rest the least recently used results go
first; a result goes before its blobs, so a run that is killed at any point leaves a store in which every
result that is found has what it had before. Removed results leave a tombstone: a build that makes one
again says ``evicted``. The caller has the store alone (``hermetic.store.lease``).

Blobs of sources and inputs are no results: they are taken in again when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.digest import EMPTY, Digest
from hermetic.errors import HbError, UserError
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import TOMBS, DiskStore
from hermetic.store.stage import remove_tree
from hermetic.tree import Directory, File, Subdir

REMEMBERED = 90 * 86400.0  # seconds a tombstone stays
YOUNG = 86400.0  # seconds: a temporary file this old belongs to nobody


@dataclass(frozen=True, slots=True)
class Limits:
    """``size``: bytes that results may take; ``age``: seconds since a result's last use. None: no limit."""

    size: int | None = None
    age: float | None = None


@dataclass
class Swept:
    """What went, or would go."""

    results: int = 0
    blobs: int = 0
    trees: int = 0
    size: int = 0  # bytes
    left: int = 0  # bytes of what stays


@dataclass
class _Marks:
    """What stays: hashes of blobs (directories too)."""

    blobs: set[str] = field(default_factory=lambda: {EMPTY.hash})
    size: int = 0

    def add(self, found: set[str], size: int) -> None:
        self.blobs |= found
        self.size += size


def sweep(
    store: DiskStore,
    limits: Limits,
    now: float,
    used: Mapping[str, float],
    trees: Iterable[Digest] = (),
    blobs: Iterable[Digest] = (),
    *,
    dry_run: bool = False,
) -> Swept:
    """``used``: when a key's result was last used (seconds since 1970), beyond what its file says.
    ``trees`` (by their roots) and ``blobs`` stay."""
    marks = _Marks()
    marks.add(*_closure(store, ((digest, True) for digest in trees), marks))
    marks.add(*_closure(store, ((digest, False) for digest in blobs), marks))
    swept = Swept()
    dropped: list[str] = []
    for last, key in sorted(_results(store, used), reverse=True):
        if not dropped and _fits(store, key, last, limits, now, marks):
            continue
        dropped.append(key)
    swept.results = len(dropped)
    for key in dropped:
        if not dry_run:
            _bury(store, key)
    _sweep_trees(store, marks, swept, dry_run)
    for kind in ("exec", "cas"):
        _sweep_files(store.root / kind, marks, swept, dry_run)
    _sweep_old(store.root / "derived", now - limits.age if limits.age is not None else None, swept, dry_run)
    _sweep_old(store.root / "tmp", now - YOUNG, swept, dry_run)
    if not dry_run:
        _sweep_old(store.root / TOMBS, now - REMEMBERED, Swept(), dry_run)
    swept.left = marks.size
    return swept


def _results(store: DiskStore, used: Mapping[str, float]) -> Iterator[tuple[float, str]]:
    for path in _files(store.root / "ac"):
        with suppress(FileNotFoundError):
            yield max(path.stat().st_mtime, used.get(path.name, 0.0)), path.name


def _fits(store: DiskStore, key: str, last: float, limits: Limits, now: float, marks: _Marks) -> bool:
    """Mark what a result needs, unless that would be too much or the result is too old."""
    if limits.age is not None and now - last > limits.age:
        return False
    result = store.get(Digest(key, 0))
    if result is None:
        return False
    found, size = _closure(store, needed(result), marks)
    if limits.size is not None and marks.size + size > limits.size:
        return False
    marks.add(found, size)
    return True


def needed(result: pb.ActionResult) -> Iterator[tuple[Digest, bool]]:
    """What a result names, with its logs and its command: (digest, whether it is the root of a tree)."""
    for file in result.output_files:
        yield _digest(file.digest), False
    for one in result.output_directories:
        yield _digest(one.root_directory_digest), True
    for log in (result.stdout_digest, result.stderr_digest):
        if log.hash:
            yield _digest(log), False
    trace = hb_pb2.KeyTrace()
    for any_ in result.execution_metadata.auxiliary_metadata:
        if any_.Unpack(trace) and trace.command:
            with suppress(UserError):
                yield Digest.parse(trace.command), False


def _closure(store: DiskStore, items: Iterable[tuple[Digest, bool]], marks: _Marks) -> tuple[set[str], int]:
    """The blobs behind these that are not marked yet, and the bytes of those that are here."""
    found: set[str] = set()
    size = 0
    pending = list(items)
    while pending:
        digest, is_tree = pending.pop()
        if digest.hash in marks.blobs or digest.hash in found:
            continue
        found.add(digest.hash)
        if not store.has(digest):
            continue
        size += digest.size
        if is_tree:
            with suppress(HbError):  # a damaged directory is verify's business
                for node in Directory.decode(store.read(digest)).entries.values():
                    if isinstance(node, File | Subdir):
                        pending.append((node.digest, isinstance(node, Subdir)))
    return found, size


def _bury(store: DiskStore, key: str) -> None:
    place = store.root / TOMBS / key[:2]
    place.mkdir(parents=True, exist_ok=True)
    (place / key).touch()
    (store.root / "ac" / key[:2] / key).unlink(missing_ok=True)


def _sweep_trees(store: DiskStore, marks: _Marks, swept: Swept, dry_run: bool) -> None:
    for shard in _folders(store.root / "stage"):
        for tree in _folders(shard):
            if tree.name not in marks.blobs:
                swept.trees += 1
                if not dry_run:
                    aside = store.root / "tmp" / f"swept-{os.getpid()}-{tree.name}"
                    tree.rename(aside)  # a tree is complete or absent
                    remove_tree(aside)


def _sweep_files(folder: Path, marks: _Marks, swept: Swept, dry_run: bool) -> None:
    for path in _files(folder):
        if path.name not in marks.blobs:
            _remove(path, swept, dry_run)
            swept.blobs += folder.name == "cas"


def _sweep_old(folder: Path, before: float | None, swept: Swept, dry_run: bool) -> None:
    if before is None or not folder.is_dir():
        return
    for path in list(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime < before:
            _remove(path, swept, dry_run)


def _remove(path: Path, swept: Swept, dry_run: bool) -> None:
    with suppress(FileNotFoundError):
        swept.size += path.stat().st_size
        if not dry_run:
            path.unlink()


def _files(folder: Path) -> Iterator[Path]:
    for shard in _folders(folder):
        yield from sorted(shard.iterdir())


def _folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink()) if folder.is_dir() else []


def _digest(message: pb.Digest) -> Digest:
    return Digest(message.hash, message.size_bytes)
