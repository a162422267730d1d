"""``glob()``: the one look BUILD code takes at the disk, and it is recorded.

Guarantees: sorted, never into another package (a folder with a BUILD.py), never through a symlinked
folder, never out of the workspace, never what hb itself makes there. Links to files count as files if they stay
in the workspace.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from hermetic.errors import BuildFileError
from hermetic.globs import COVERED, DEAD, Globs, State
from hermetic.listing import OWN, listing_digest
from hermetic.loading.links import stays

BUILD_FILE = "BUILD.py"


def glob_files(
    workspace: Path, package: str, include: Sequence[str], exclude: Sequence[str], seen: dict[str, str]
) -> list[str]:
    """Paths relative to the package, in byte order. ``seen``: receives each folder looked into, relative
    to the workspace, and its listing digest."""
    for pattern in (*include, *exclude):
        parts = pattern.split("/") if isinstance(pattern, str) else [""]
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise BuildFileError(
                f"glob pattern {pattern!r} must be relative to the package", hint="a package sees its own folder only"
            )
    found = _walk(workspace, package, Globs.of(include), Globs.of(exclude), seen)
    return sorted(found, key=lambda path: path.encode("utf-8", "surrogateescape"))


def _walk(workspace: Path, package: str, wanted: Globs, unwanted: Globs, seen: dict[str, str]) -> Iterator[str]:
    top = workspace / package
    waiting: list[tuple[str, State, State]] = [("", wanted.start, unwanted.start)]
    while waiting:
        inside, take, drop = waiting.pop()
        note_folder(workspace, posixpath.join(package, inside).rstrip("/"), seen)
        with os.scandir(top / inside) as entries:
            listed = list(entries)
        for entry in listed:
            taken, dropped = wanted.step(take, entry.name), unwanted.step(drop, entry.name)
            if taken is DEAD or dropped is COVERED or entry.name in OWN:
                continue
            path = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if os.path.exists(f"{entry.path}/{BUILD_FILE}"):
                    note_folder(workspace, posixpath.join(package, path), seen)
                else:
                    waiting.append((f"{path}/", taken, dropped))
            elif taken is not COVERED:
                continue
            elif not _is_utf8(path):  # trees hold names as UTF-8, as the Remote Execution API says
                raise BuildFileError(f"glob() matches {path!r}, which is not UTF-8", hint="rename it, or exclude it")
            elif entry.is_file() and (not entry.is_symlink() or stays(workspace, entry.path)):
                yield path


def note_folder(workspace: Path, path: str, seen: dict[str, str]) -> None:
    """Remember what a folder holds, before it is looked into: a later change is one that can be noticed."""
    if path not in seen:
        seen[path] = listing_digest(workspace / path)


def _is_utf8(path: str) -> bool:
    return path.isascii() or not any("\ud800" <= char <= "\udfff" for char in path)
