"""One member of an archive, whatever the format, as the readers hand it on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO


class MemberKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    DEVICE = "device"
    FIFO = "FIFO"


@dataclass(frozen=True, slots=True)
class Member:
    """``name`` and ``target`` are as the archive has them: nothing about them is trusted yet.

    ``content`` is valid until the next member is asked for; None for all but files.
    """

    name: str
    kind: MemberKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    content: BinaryIO | None = None
