"""The ar container of Debian packages (deb(5)): version mark, control members, data members."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from hermetic.archive.codec import BROKEN, Slice, refusal

MAGIC = b"!<arch>\n"
_NAME = re.compile(rb"([a-z][a-z0-9.-]*)/? *", re.ASCII)
_SIZE = re.compile(rb"([0-9]+) *", re.ASCII)


def deb_members(stream: BinaryIO, archive: str) -> Iterator[tuple[str, Slice]]:
    """``control.tar*`` and ``data.tar*`` in that order, each to be read before the next."""
    expected = ["debian-binary", "control.tar", "data.tar"]
    if stream.read(len(MAGIC)) != MAGIC:
        raise refusal(archive, "is not a Debian package (no ar magic)", hint=BROKEN)
    while header := stream.read(60):
        name, size = _header(header, archive)
        content = Slice(stream, size, archive, name)
        stem = name if name == "debian-binary" else name[: name.find(".tar") + 4] if ".tar" in name else name
        if name.startswith("_"):
            content.skip()
        elif not expected or stem != expected[0]:
            wanted = f"{expected[0]} is expected here" if expected else "nothing is expected here"
            raise refusal(archive, f"is not a sound Debian package: {wanted}", name, BROKEN)
        elif expected.pop(0) == "debian-binary":
            if not content.read(size).startswith(b"2."):
                raise refusal(archive, "is a Debian package of an unknown version", hint=BROKEN)
        else:
            yield name, content
        content.skip()
        if size % 2 and stream.read(1) not in (b"\n", b"\0"):
            raise refusal(archive, "is truncated: the content ends early", name, BROKEN)
    if expected:
        raise refusal(archive, f"is not a sound Debian package: it has no {expected[0]}", hint=BROKEN)


def _header(header: bytes, archive: str) -> tuple[str, int]:
    name, size = _NAME.fullmatch(header[:16]), _SIZE.fullmatch(header[48:58])
    if header[:1] == b"_":
        name = re.fullmatch(rb"(\S+) *", header[:16])
    if len(header) < 60 or header[58:60] != b"`\n" or not name or not size:
        raise refusal(archive, "has a malformed ar header", hint=BROKEN)
    return name[1].rstrip(b"/").decode("ascii", "replace"), int(size[1])
