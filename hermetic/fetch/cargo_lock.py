"""The lock of crates, from a Cargo.lock: what cargo resolved, one line a crate."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hermetic.archive.tree import Options
from hermetic.archive.unpack import unpack_blob
from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.dispatch import fetch_batch
from hermetic.fetch.python_lock import find_sdist
from hermetic.fetch.spec import FetchRequest
from hermetic.store.disk import DiskStore
from hermetic.tree import File, walk


def lock_cargo(spec: Mapping[str, Any], work: Path) -> str:
    """Lines ``name version sha256`` of the Cargo.lock in the source distribution ``sdist``, or of the
    text ``cargo_lock``."""
    text = str(spec["cargo_lock"]) or _from_sdist(str(spec["sdist"]), work)
    return lockfile.write("cargo", spec, crates(text))


def crates(text: str) -> list[str]:
    """The lines for a Cargo.lock. FetchError for crates that nothing pins (from git, without checksum)."""
    try:
        packages = tomllib.loads(text).get("package", [])
    except tomllib.TOMLDecodeError as error:
        raise FetchError(f"not a Cargo.lock: {error}") from error
    lines = []
    for package in packages:
        source = str(package.get("source", ""))
        if source.startswith("git+"):
            raise FetchError(
                f"{package['name']} {package['version']} comes from git ({source})", hint="vendor it by hand"
            )
        if source and "checksum" not in package:
            raise FetchError(
                f"{package['name']} {package['version']} has no checksum",
                hint="let a newer cargo write the Cargo.lock again (cargo generate-lockfile)",
            )
        if source:
            lines.append(f"{package['name']} {package['version']} {package['checksum']}")
    return lines


def _from_sdist(requirement: str, work: Path) -> str:
    """The Cargo.lock nearest to the top of a source distribution."""
    name, version, filename, sha256 = find_sdist(requirement)
    store = DiskStore(work / "store")
    unkeyed = {"name": name, "version": version, "filename": filename, "kind": "sdist"}
    (found,) = fetch_batch("python", [FetchRequest(requirement, {"sha256": sha256}, unkeyed)], work / "fetch", store)
    if isinstance(found, FetchError):
        raise found
    root = unpack_blob(found.digest, Options(strip_components=1), store)
    locks = [
        (path.count("/"), path, node)
        for path, node in walk(root, store.read)
        if isinstance(node, File) and path.rpartition("/")[2] == "Cargo.lock"
    ]
    if not locks:
        raise FetchError(f"{requirement} has no Cargo.lock", hint="put one into the package and name it as cargo_lock")
    return store.read(min(locks)[2].digest).decode("utf-8")
