"""A strict reader of zip archives and wheels.

Guarantees: members lie one after the other without overlap, the first at the first byte (no bomb
made of members sharing content, no archive hidden behind another); names are UTF-8 without NUL or
backslash; what is declared larger than the limits is refused before it is unpacked.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, NoReturn, cast

from hermetic.archive.codec import BOMB, BROKEN, Gauge, refusal
from hermetic.archive.member import Member, MemberKind
from hermetic.errors import ArchiveError

UNSOUND = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}  # LZMA's dictionary may ask for 4 GiB
_UNIX = 3  # "version made by": the upper half of external_attr is st_mode
_LINK_LIMIT = 4096


class ZipReader:
    """Iterates the members of a zip archive, in the order of its central directory."""

    def __init__(self, stream: BinaryIO, gauge: Gauge) -> None:
        self._stream, self._gauge = stream, gauge

    def __iter__(self) -> Iterator[Member]:
        try:
            with zipfile.ZipFile(self._stream) as archive:
                self._check_layout(archive)
                for info in archive.infolist():
                    yield self._member(archive, info)
        except UNSOUND as error:
            raise unsound(self._gauge.archive, error) from error

    def _check_layout(self, archive: zipfile.ZipFile) -> None:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        if len(infos) > self._gauge.limits.members:
            self._refuse(f"has more than {self._gauge.limits.members} members", hint=BOMB)
        total = sum(info.file_size for info in infos)
        self._gauge.packed = max(1, self._stream.seek(0, 2))
        self._gauge.add(total)
        if (infos[0].header_offset if infos else archive.start_dir) != 0:
            self._refuse("has something in front of its first member", hint=BROKEN)
        ends = [*(info.header_offset for info in infos), archive.start_dir][1:]
        for info, end in zip(infos, ends, strict=True):
            if info.header_offset + 30 + info.compress_size > end:
                self._refuse("shares its bytes with another member", info.filename, BROKEN)

    def _member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
        name = self._name(info)
        if info.flag_bits & 0x1:
            self._refuse("is encrypted", name, "pack it again without a password")
        if info.compress_type not in _METHODS:
            self._refuse(f"is compressed by method {info.compress_type}, which is not supported", name)
        mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
        kind = self._kind(mode, name)
        if kind is MemberKind.SYMLINK:
            if info.file_size > _LINK_LIMIT:
                self._refuse("is a symbolic link with an impossible target", name, BROKEN)
            try:
                target = archive.read(info).decode()
            except UnicodeDecodeError:
                self._refuse("is a symbolic link whose target is not UTF-8", name)
            return Member(name, kind, target=target)
        if kind is MemberKind.DIRECTORY and info.file_size:
            self._refuse("is a directory with content", name, BROKEN)
        return Member(
            name,
            kind,
            mode=mode & 0o7777 or (0o755 if kind is MemberKind.DIRECTORY else 0o644),
            size=info.file_size,
            content=cast(Any, _Content(archive.open(info), self._gauge.archive, name))
            if kind is MemberKind.FILE
            else None,
        )

    def _kind(self, mode: int, name: str) -> MemberKind:
        kind = {
            stat.S_IFLNK: MemberKind.SYMLINK,
            stat.S_IFIFO: MemberKind.FIFO,
            stat.S_IFCHR: MemberKind.DEVICE,
            stat.S_IFBLK: MemberKind.DEVICE,
            stat.S_IFDIR: MemberKind.DIRECTORY,
        }.get(stat.S_IFMT(mode), MemberKind.FILE)
        if name.endswith("/") != (kind is MemberKind.DIRECTORY) and stat.S_IFMT(mode):
            self._refuse("is a directory by its name and not by its mode, or the other way round", name, BROKEN)
        return MemberKind.DIRECTORY if name.endswith("/") else kind

    def _name(self, info: zipfile.ZipInfo) -> str:
        name = info.orig_filename
        if not info.flag_bits & 0x800 and not name.isascii():
            try:
                name = name.encode("cp437").decode()
            except UnicodeError:
                self._refuse("has a name that is not UTF-8", name, "pack it again with UTF-8 names")
        if "\0" in name:
            self._refuse("has a NUL inside its name", name, BROKEN)
        if "\\" in name:
            self._refuse("has a backslash in its name", name, "pack it again with / between directories")
        return name

    def _refuse(self, why: str, member: str | None = None, hint: str | None = None) -> NoReturn:
        raise refusal(self._gauge.archive, why, member, hint)


class _Content(io.RawIOBase):
    """A member's content, whose damage shows only while somebody reads it."""

    def __init__(self, stream: IO[bytes], archive: str, member: str) -> None:
        self._stream, self._archive, self._member = stream, archive, member

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return self._stream.read(-1 if size is None else size)
        except UNSOUND as error:
            raise unsound(self._archive, error, self._member) from error

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def unsound(archive: str, error: Exception, member: str | None = None) -> ArchiveError:
    return refusal(archive, f"is not a sound zip archive: {error}", member, BROKEN)
