"""What a folder holds, as one text: the names in it, which of them are folders, and where links lead.

Two listings are equal exactly when ``glob()`` and the search for packages see the same names there.
hb's own folders do not count: they come and go with builds.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

OWN = (".hb", "hb-out")  # what hb makes in a workspace


def listing_digest(folder: Path | str) -> str:
    """Hex digest of the names in ``folder``; "" when it is not a folder."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(_line(one) for one in entries if one.name not in OWN)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    text = "\0".join(names)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _line(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return f"{entry.name}@{os.readlink(entry.path)}"
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
