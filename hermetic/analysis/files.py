"""The files of a package, as its targets name them: folders are listed once, not each file looked at."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hermetic.analysis.sources import source_file
from hermetic.loading.glob import BUILD_FILE, note_folder
from hermetic.loading.loader import Loader, Package


@dataclass
class PackageFiles:
    """``used``: the names given out so far."""

    loader: Loader
    package: Package
    used: dict[str, None] = field(default_factory=dict)
    _listed: dict[str, frozenset[str]] = field(default_factory=dict)

    def name(self, text: str, missing: bool) -> str:
        """The name of the file ``text`` in labels. ``missing``: it need not exist. Raises BuildFileError
        when it is no file of this package."""
        folder, _, last = text.rpartition("/")
        if last not in self._names(folder) or (folder and not self._inside(folder)):
            source_file(self.loader, self.package, text, missing)  # says what is wrong, or that all is well
        if not text.isprintable():
            text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
        self.used[text] = None
        return text

    def _inside(self, folder: str) -> bool:
        """Whether no folder on the way is odd or a package of its own."""
        while folder:
            parent, _, last = folder.rpartition("/")
            if last in ("", ".", "..") or BUILD_FILE in self._names(folder):
                return False
            folder = parent
        return True

    def _names(self, folder: str) -> frozenset[str]:
        """The plain files of a folder. A link may lead anywhere: those are looked at one by one."""
        if folder not in self._listed:
            self._listed[folder] = self._list(f"{self.package.path}/{folder}".strip("/"))
        return self._listed[folder]

    def _list(self, path: str) -> frozenset[str]:
        try:
            note_folder(self.loader.workspace, path, self.loader.read_folders)
            with os.scandir(self.loader.workspace / path) as entries:
                return frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except (OSError, ValueError):
            return frozenset()
