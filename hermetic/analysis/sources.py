"""Names of files in attributes: a file belongs to one package, and no name leads out of it."""

from __future__ import annotations

import os
from pathlib import Path

from hermetic.action import SourceFile
from hermetic.errors import BuildFileError, did_you_mean
from hermetic.label import Label
from hermetic.loading.glob import BUILD_FILE
from hermetic.loading.loader import Loader, Package


def source_file(loader: Loader, package: Package, text: str, missing: bool) -> SourceFile:
    """The file ``text`` of ``package``, relative to its folder. ``missing``: it need not exist yet.
    Raises BuildFileError when it is no file, lies outside or belongs to another package."""
    parts = text.split("/")
    if "" in parts or "." in parts or ".." in parts or "\0" in text:
        raise BuildFileError(
            f"{text!r} is not a file of //{package.path}",
            hint="name files below the package's own folder, like src/a.c",
        )
    path = f"{package.path}/{text}" if package.path else text
    for depth in range(len(parts) - 1, 0, -1):
        owner = "/".join([*filter(None, [package.path]), *parts[:depth]])
        if os.path.isfile(f"{loader.workspace}/{owner}/{BUILD_FILE}"):
            raise BuildFileError(
                f"{text!r} belongs to the package //{owner}",
                hint=f"make a filegroup there and name it: //{owner}:…",
            )
        loader.note(package.path, f"{owner}/{BUILD_FILE}", "")
    loader.links.refuse(path, BuildFileError)
    if missing or os.path.isfile(f"{loader.workspace}/{path}"):
        return SourceFile(path)
    folder = loader.workspace / package.path
    if (folder / text).is_dir():
        raise BuildFileError(f"{text!r} is a folder", hint=f'name its files: glob(["{text}/**"])')
    if os.path.lexists(folder / text):
        odd = "a link that leads to no file" if os.path.islink(folder / text) else "not a regular file"
        raise BuildFileError(f"{text!r} is {odd}", hint="actions see regular files, and links to them")
    raise BuildFileError(
        f"there is no target {Label(package.path, text)} and no file of that name",
        hint=did_you_mean(text, [*package.declarations, *_files(folder / parts[0] if parts[1:] else folder, folder)]),
    )


def _files(top: Path, folder: Path) -> list[str]:
    """Some file names, to guess from."""
    found = top.rglob("*") if top != folder else top.iterdir()
    return [one.relative_to(folder).as_posix() for one, _ in zip(found, range(2000), strict=False)]
