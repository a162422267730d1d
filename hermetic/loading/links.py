"""Where names of a workspace really lead: a build reads no file outside it, whatever links say.

A checkout from somebody else may hold links to anything: to the keys of whoever builds it, or to a file that is
different on each machine. Links inside the workspace are what they are everywhere, and may stay.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.errors import HbError

HINT = "copy the file into the workspace, or bring it in by a rule that pins it"


@dataclass
class Links:
    """Folders are looked at once."""

    workspace: Path
    _folders: dict[str, str | None] = field(default_factory=dict)

    def out(self, path: str) -> str | None:
        """The part of ``path`` (relative to the workspace) that is a symbolic link out of it, or None."""
        folder = path.rpartition("/")[0]
        if folder and folder not in self._folders:
            self._folders[folder] = self.out(folder)
        if found := self._folders.get(folder):
            return found
        place = f"{self.workspace}/{path}"
        return path if os.path.islink(place) and not stays(self.workspace, place) else None

    def refuse(self, path: str, kind: type[HbError]) -> None:
        """Raise ``kind`` when ``path`` leads out of the workspace."""
        if link := self.out(path):
            target = os.readlink(self.workspace / link)
            what = path if link == path else f"{path} lies behind {link}, which"
            raise kind(f"{what} is a symbolic link out of the workspace, to {target}", hint=HINT)


def stays(workspace: Path, path: Path | str) -> bool:
    """Whether ``path``, with all links followed, lies in the workspace."""
    return os.path.realpath(path).startswith(f"{os.path.realpath(workspace)}/")
