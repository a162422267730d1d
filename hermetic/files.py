"""Files that appear whole, and folders of which only the newest files stay."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

COMING = ".new-"  # how the name of a file begins while it is written


def write_whole(path: Path, pieces: Iterable[bytes], mode: int = 0o600) -> None:
    """Write a file beside its place and rename it: it is there complete, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=COMING)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.writelines(pieces)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def keep_newest(paths: Iterable[Path], count: int) -> None:
    """Remove all but the ``count`` files that were written last."""
    found = sorted(paths, key=lambda one: one.stat().st_mtime, reverse=True)
    for old in found[count:]:
        with suppress(OSError):
            old.unlink()
