"""A file of named byte sections, each read alone and checked: the form of hb's snapshots.

    <magic>\\n<crc32 of the header> <header: JSON of name → [offset, length, crc32]>\\n<sections>

Guarantees: a file appears whole, by rename; a truncated, damaged or foreign one is Damaged, never
half read. Nothing in it is code or becomes an object by itself: sections are text and numbers.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from hermetic.files import write_whole

HEADER_LIMIT = 1 << 20


class Damaged(Exception):
    """The file is not what this hb wrote; it can be made again."""


def write_sections(path: Path, magic: str, sections: Mapping[str, bytes]) -> None:
    """Write ``sections`` to ``path`` in one step. ``magic`` names the format and its version."""
    table, offset = {}, 0
    for name, data in sections.items():
        table[name] = [offset, len(data), zlib.crc32(data)]
        offset += len(data)
    header = json.dumps(table, separators=(",", ":")).encode()
    write_whole(path, [b"%s\n%d %s\n" % (magic.encode(), zlib.crc32(header), header), *sections.values()])


class Sections:
    """An open file of sections. Raises Damaged; FileNotFoundError when there is none."""

    def __init__(self, path: Path, magic: str) -> None:
        self._stream: BinaryIO = open(path, "rb")  # noqa: SIM115
        try:
            if self._stream.readline(len(magic) + 2) != f"{magic}\n".encode():
                raise Damaged(f"{path} has another format")
            crc, _, header = self._stream.readline(HEADER_LIMIT).rstrip(b"\n").partition(b" ")
            if not crc.isdigit() or int(crc) != zlib.crc32(header):
                raise Damaged(f"the header of {path} is damaged")
            self._table: dict[str, list[int]] = json.loads(header)
            self._start = self._stream.tell()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Sections:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, name: str) -> bytes:
        if name not in self._table:
            raise Damaged(f"there is no section {name!r}")
        offset, length, crc = self._table[name]
        self._stream.seek(self._start + offset)
        data = self._stream.read(length)
        if len(data) != length or zlib.crc32(data) != crc:
            raise Damaged(f"the section {name!r} is damaged")
        return data

    def texts(self, name: str) -> list[str]:
        """A section written by ``texts_bytes``."""
        data = self.read(name)
        return data.decode("utf-8", "surrogateescape").split("\0") if data else []


def texts_bytes(texts: list[str] | tuple[str, ...]) -> bytes:
    """Texts without NUL, such as paths, as one section. One empty text alone cannot be told from none."""
    return "\0".join(texts).encode("utf-8", "surrogateescape")
