"""A strict reader of tar archives: ustar, pax (POSIX.1-2001) and GNU long names.

Guarantees: what two readers could understand differently is refused instead of guessed (a pax size
that contradicts the header's, content behind a link, a number that is negative or not octal, a NUL
inside a name, unknown member types, data after the end mark). Headers only are interpreted here;
names are judged by ``hermetic.archive.tree``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from hermetic.archive.codec import BROKEN, STEP, ChunkReader, Limits, Slice, refusal
from hermetic.archive.member import Member, MemberKind

BLOCK = 512
ZERO = bytes(BLOCK)
PAX_LIMIT = 1 << 20  # bytes of extended header or long name of one member
OCTAL_LIMIT = 0o77777777777  # the largest size a ustar header can say
ID_LIMIT = (1 << 32) - 2
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,19}", re.ASCII)

_KINDS = {
    b"0": MemberKind.FILE,
    b"\0": MemberKind.FILE,
    b"7": MemberKind.FILE,
    b"1": MemberKind.HARDLINK,
    b"2": MemberKind.SYMLINK,
    b"3": MemberKind.DEVICE,
    b"4": MemberKind.DEVICE,
    b"5": MemberKind.DIRECTORY,
    b"6": MemberKind.FIFO,
}


@dataclass(slots=True)
class _Extras:
    """What the headers before a member said about it."""

    pax: dict[str, str] = field(default_factory=dict)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    path: str | None = None
    target: str | None = None


class TarReader:
    """Iterates the members of one tar stream."""

    def __init__(self, stream: ChunkReader, archive: str, limits: Limits) -> None:
        self._stream, self._archive, self._limits = stream, archive, limits
        self._shared: dict[str, str] = {}  # of global pax headers: uid and gid only
        self._count = 0

    def __iter__(self) -> Iterator[Member]:
        extras = _Extras()
        while True:
            header = self._stream.exactly(BLOCK)
            if len(header) < BLOCK:
                self._refuse("is truncated: it ends without an end mark", hint=BROKEN)
            if header == ZERO:
                if extras != _Extras():
                    self._refuse("ends after an extended header that belongs to no member", hint=BROKEN)
                self._finish()
                return
            self._check_sum(header)
            self._count += 1
            if self._count > self._limits.members:
                self._refuse(f"has more than {self._limits.members} members", hint="raise max_members if it is trusted")
            kind = header[156:157]
            if kind in (b"x", b"g", b"L", b"K"):
                self._extend(kind, header, extras)
                continue
            yield from self._member(kind, header, extras)
            extras = _Extras()

    def _member(self, kind: bytes, header: bytes, extras: _Extras) -> Iterator[Member]:
        name = extras.pax.get("path") or extras.path or self._name(header)
        if kind == b"S" or any(key.startswith("GNU.sparse.") for key in extras.pax):
            self._refuse("is a sparse file", name, "pack it again without --sparse")
        what = _KINDS.get(kind)
        if what is None:
            self._refuse(f"has the unknown type {kind!r}", name, "pack it again as ustar or pax")
        if what is MemberKind.FILE and name.endswith("/") and kind == b"\0":
            what = MemberKind.DIRECTORY  # how version 7 tar marks directories
        size = self._size(header, extras, name)
        if what is not MemberKind.FILE and size:
            self._refuse(f"is a {what} that claims {size} bytes of content", name, "pack it again with another tar")
        content = Slice(self._stream, size, self._archive, name)
        yield Member(
            name=name,
            kind=what,
            mode=self._number(header[100:108], "mode", name) & 0o7777,
            uid=self._owner("uid", header[108:116], extras, name),
            gid=self._owner("gid", header[116:124], extras, name),
            size=size,
            target=self._target(header, extras, name) if what in (MemberKind.SYMLINK, MemberKind.HARDLINK) else "",
            xattrs=tuple(sorted(extras.xattrs.items())),
            content=cast(Any, content) if what is MemberKind.FILE else None,
        )
        content.skip()
        self._padding(size, name)

    def _target(self, header: bytes, extras: _Extras, name: str) -> str:
        return extras.pax.get("linkpath") or extras.target or self._field(header[157:257], name)

    def _extend(self, kind: bytes, header: bytes, extras: _Extras) -> None:
        size = self._number(header[124:136], "size", None)
        if size > PAX_LIMIT:
            self._refuse(f"has an extended header of {size} bytes", hint="pack it again with shorter names")
        data = self._stream.exactly(size)
        if len(data) < size:
            self._refuse("is truncated inside an extended header", hint=BROKEN)
        self._padding(size, None)
        if kind in (b"L", b"K"):
            text = self._text(data.removesuffix(b"\0"), None)
            if kind == b"L":
                extras.path = text
            else:
                extras.target = text
        elif kind == b"x":
            self._pax(data, extras.pax, extras.xattrs)
        else:
            self._global(data)

    def _global(self, data: bytes) -> None:
        """``git archive`` writes one with a comment; anything that renames members is refused."""
        found: dict[str, str] = {}
        xattrs: dict[str, bytes] = {}
        self._pax(data, found, xattrs)
        if xattrs or {"path", "linkpath", "size"} & found.keys() or any(k.startswith("GNU.sparse.") for k in found):
            self._refuse("has a global header that sets path, linkpath, size or attributes for every member")
        self._shared.update({key: found[key] for key in ("uid", "gid") if key in found})

    def _pax(self, data: bytes, texts: dict[str, str], xattrs: dict[str, bytes]) -> None:
        """Records ``<length> <key>=<value>\\n``, the length counting the whole record."""
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 12)
            digits = data[at:space] if space > 0 else b""
            end = at + int(digits) if digits.isdigit() else -1
            if end <= space or end > len(data) or data[end - 1 : end] != b"\n":
                self._refuse("has a malformed pax record", hint=BROKEN)
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not equals or not key:
                self._refuse("has a pax record without a key", hint=BROKEN)
            self._record(self._text(key, None), value, texts, xattrs)
            at = end

    def _record(self, key: str, value: bytes, texts: dict[str, str], xattrs: dict[str, bytes]) -> None:
        if key.startswith("SCHILY.xattr."):
            xattrs[self._text(key.removeprefix("SCHILY.xattr.").encode(), None)] = value
        elif key in ("path", "linkpath", "size", "uid", "gid", "hdrcharset") or key.startswith("GNU.sparse."):
            if key in texts:
                self._refuse(f"says {key} twice in one pax header")
            text = self._text(value, None)
            if key == "hdrcharset" and text not in ("BINARY", "ISO-IR 10646 2000 UTF-8"):
                self._refuse(f"has names in the character set {text!r}", hint="pack it again with UTF-8 names")
            texts[key] = text

    def _size(self, header: bytes, extras: _Extras, name: str) -> int:
        size = self._number(header[124:136], "size", name)
        said = extras.pax.get("size")
        if said is None:
            return size
        wanted = self._decimal(said, "size", name)
        # A size too large for the header is written as 0 or cut off there; below that they must agree,
        # or two readers would disagree on where the next member starts.
        if wanted != size and wanted <= OCTAL_LIMIT:
            self._refuse(f"has two sizes: {size} in its header, {wanted} in its pax record", name, BROKEN)
        return wanted

    def _owner(self, key: str, raw: bytes, extras: _Extras, name: str) -> int:
        said = extras.pax.get(key, self._shared.get(key))
        number = self._decimal(said, key, name) if said is not None else self._number(raw, key, name)
        if number > ID_LIMIT:
            self._refuse(f"has the impossible {key} {number}", name)
        return number

    def _name(self, header: bytes) -> str:
        name = self._field(header[:100], None)
        if header[257:263] == b"ustar\0":
            prefix = self._field(header[345:500], name)
            name = f"{prefix}/{name}" if prefix else name
        elif header[257:265] not in (b"ustar  \0", bytes(8)):
            self._refuse("is not a tar archive of a kind we know (ustar, pax, GNU, version 7)", name)
        return name

    def _field(self, raw: bytes, member: str | None) -> str:
        """A name in a fixed field: it ends at the first NUL, and only NULs may follow."""
        text, _, rest = raw.partition(b"\0")
        return self._text(raw if rest.strip(b"\0") else text, member)

    def _text(self, raw: bytes, member: str | None) -> str:
        if b"\0" in raw:
            self._refuse(f"has a NUL inside a name ({raw[:60]!r})", member, BROKEN)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse(f"has a name that is not UTF-8: {raw[:80]!r}", member, "pack it again with UTF-8 names")

    def _number(self, raw: bytes, what: str, member: str | None) -> int:
        if raw[0] & 0x80:
            if raw[0] == 0xFF:
                self._refuse(f"has a negative {what}", member, BROKEN)
            number = int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big")
        else:
            match = _OCTAL.fullmatch(raw)
            if not match:
                self._refuse(f"has a {what} that is not a number: {raw!r}", member, BROKEN)
            number = int(match[1] or b"0", 8)
        if number >= 1 << 63:
            self._refuse(f"has an impossible {what}", member, BROKEN)
        return number

    def _decimal(self, text: str, what: str, member: str) -> int:
        if not _DECIMAL.fullmatch(text) or int(text) >= 1 << 63:
            self._refuse(f"has a {what} in its pax record that is not a number: {text!r}", member, BROKEN)
        return int(text)

    def _check_sum(self, header: bytes) -> None:
        said = _OCTAL.fullmatch(header[148:156])
        if not said or int(said[1] or b"0", 8) != sum(header) - sum(header[148:156]) + 8 * 32:
            self._refuse("is not a tar archive, or is damaged: a header's checksum is wrong", hint=BROKEN)

    def _padding(self, size: int, member: str | None) -> None:
        rest = -size % BLOCK
        if rest and len(self._stream.exactly(rest)) < rest:
            self._refuse("is truncated: the content ends early", member, BROKEN)

    def _finish(self) -> None:
        """After the end mark (two zero blocks) only zeros may follow."""
        if self._stream.exactly(BLOCK) != ZERO:
            self._refuse("has a zero block that is not the end mark", hint=BROKEN)
        while data := self._stream.read(STEP):
            if data.strip(b"\0"):
                self._refuse("has trailing garbage after its end mark", hint=BROKEN)

    def _refuse(self, why: str, member: str | None = None, hint: str | None = None) -> NoReturn:
        raise refusal(self._archive, why, member, hint)
