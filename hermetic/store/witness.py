"""What a result was made from, as it lay on disk, and what of it has changed since.

Guarantees: a file whose bytes changed is always reported. Its stat record (size, times, inode, mode)
is believed only if it was older than the file system's tick when it was taken, as in
``hermetic.store.filestate``; where a record differs the content decides, so a file that was only
touched is unchanged. A folder is unchanged as long as the same names are in it and its links lead to
the same places. Thirty thousand files cost one ``stat`` each and one comparison of bytes.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct

from hermetic.digest import Digest
from hermetic.errors import InternalError
from hermetic.listing import listing_digest
from hermetic.store.filestate import TICK_NS
from hermetic.store.sections import Damaged, Sections, texts_bytes

_RECORD = Struct("<6q")
_WIDTH = _RECORD.size
_ABSENT = b"\0" * _WIDTH  # the record of what is not there
_HASH = 32
NOTHING = ""  # stands for the digest of what is not there
Look = Callable[[Path], Digest]


class Moved(InternalError):
    """Something changed while it was used; what was made of it must not be remembered."""


def look(path: Path) -> Digest:
    with path.open("rb") as stream:
        return Digest.of_file(stream)


@dataclass(frozen=True, slots=True)
class Witness:
    """Paths are relative to ``root`` or absolute; digests are 32 bytes and records 48 bytes per path.
    ``modes``: per file, how it appears in a tree."""

    root: str
    files: Sequence[str]
    file_digests: bytes
    file_records: bytes
    modes: bytes
    folders: Sequence[str]
    folder_digests: bytes
    folder_records: bytes

    @classmethod
    def take(cls, root: Path, files: Mapping[str, str], folders: Mapping[str, str], digest: Look = look) -> Witness:
        """Of what was seen: file → SHA-256 in hex (or NOTHING), folder → listing digest. ``digest`` looks
        at a file now. Raises Moved when something is no longer what was seen."""
        folders = {**folders, **_homes_of_links(root, files, folders)}
        _settle(str(root), [*files, *folders])
        file_records, folder_records = _records(str(root), list(files)), _records(str(root), list(folders))
        modes = bytearray()
        for path, seen in files.items():
            if _content(root / path, digest) != seen:
                raise Moved(f"{path} changed while it was used")
            modes.append(_appearance(root / path))
        for path, seen in folders.items():
            if listing_digest(root / path) != seen:
                raise Moved(f"the folder {path or '.'} changed while it was used")
        return cls(
            str(root),
            tuple(files),
            b"".join(map(_raw, files.values())),
            file_records,
            bytes(modes),
            tuple(folders),
            b"".join(map(_raw, folders.values())),
            folder_records,
        )

    def continued(self, files: Mapping[str, str], folders: Mapping[str, str], digest: Look = look) -> Witness:
        """As ``take``. What is as it was when this witness was taken is not looked at again."""
        at, inside = self._same_files(files), self._same_folders(folders)
        new = Witness.take(
            Path(self.root),
            {path: seen for path, seen in files.items() if path not in at},
            {path: seen for path, seen in folders.items() if path not in inside},
            digest,
        )
        homes = {os.path.dirname(path) for path, number in at.items() if self.modes[number] == _LINK}
        kept = {path: number for path, number in inside.items() if path in folders or path in homes}
        order = {path: number for number, path in enumerate(new.files)}
        rows = [(self, at[path]) if path in at else (new, order[path]) for path in files]
        beside = [(self, number) for number in kept.values()]
        beside += [(new, number) for number, path in enumerate(new.folders) if path not in kept]
        return Witness(
            self.root,
            tuple(files),
            b"".join(_at(one.file_digests, number, _HASH) for one, number in rows),
            b"".join(_at(one.file_records, number, _WIDTH) for one, number in rows),
            bytes(one.modes[number] for one, number in rows),
            tuple(one.folders[number] for one, number in beside),
            b"".join(_at(one.folder_digests, number, _HASH) for one, number in beside),
            b"".join(_at(one.folder_records, number, _WIDTH) for one, number in beside),
        )

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every file as it was seen."""
        return {
            path: _at(self.file_digests, number, _HASH).hex() if self.modes[number] != _NONE else NOTHING
            for number, path in enumerate(self.files)
        }

    def _same_files(self, files: Mapping[str, str]) -> dict[str, int]:
        """Numbers of those of ``files`` that were seen with this content and have the record of then."""
        moved = set(_differing(_records(self.root, self.files), self.file_records))
        return {
            path: number
            for number, path in enumerate(self.files)
            if number not in moved and path in files and _at(self.file_digests, number, _HASH) == _raw(files[path])
        }

    def _same_folders(self, folders: Mapping[str, str]) -> dict[str, int]:
        """Numbers of folders that have the record of then, and held then what they are said to hold."""
        moved = set(_differing(_records(self.root, self.folders), self.folder_records))
        return {
            path: number
            for number, path in enumerate(self.folders)
            if number not in moved
            and (path not in folders or _at(self.folder_digests, number, _HASH) == _raw(folders[path]))
        }

    @property
    def untouched(self) -> bool:
        """Whether no stat record differs: nothing changed, and no content was looked at to know it."""
        return (
            _records(self.root, self.files) == self.file_records
            and _records(self.root, self.folders) == self.folder_records
        )

    def changed(self, digest: Look = look) -> list[str]:
        """Files and folders that are not what they were, files first, each in order of taking."""
        root, found = Path(self.root), []
        for number in _differing(_records(self.root, self.files), self.file_records):
            place = root / self.files[number]
            if (
                _raw(_content(place, digest)) != _at(self.file_digests, number, _HASH)
                or _appearance(place) != self.modes[number]
            ):
                found.append(self.files[number])
        for number in _differing(_records(self.root, self.folders), self.folder_records):
            path = self.folders[number]
            if _raw(listing_digest(root / path)) != _at(self.folder_digests, number, _HASH):
                found.append(path)
        return found

    def renewed(self, files: Mapping[str, str], digest: Look = look) -> Witness:
        """The witness after some files changed: path → SHA-256 as it was seen. Only what differs is looked
        at. Raises Moved when something else has changed, or one of these again."""
        _settle(self.root, [*self.files, *self.folders])
        root = Path(self.root)
        digests, modes = bytearray(self.file_digests), bytearray(self.modes)
        records, folder_records = _records(self.root, self.files), _records(self.root, self.folders)
        for number in _differing(records, self.file_records):
            path = self.files[number]
            place = root / path
            seen = files.get(path, _at(self.file_digests, number, _HASH).hex())
            if _raw(_content(place, digest)) != bytes.fromhex(seen):
                raise Moved(f"{path} changed while it was used")
            digests[number * _HASH : (number + 1) * _HASH] = bytes.fromhex(seen)
            modes[number] = _appearance(place)
        for number in _differing(folder_records, self.folder_records):
            if _raw(listing_digest(root / self.folders[number])) != _at(self.folder_digests, number, _HASH):
                raise Moved(f"the folder {self.folders[number] or '.'} changed while it was used")
        return replace(
            self,
            file_digests=bytes(digests),
            file_records=records,
            modes=bytes(modes),
            folder_records=folder_records,
        )

    def sections(self) -> dict[str, bytes]:
        return {
            "root": self.root.encode("utf-8", "surrogateescape"),
            "files": texts_bytes(tuple(self.files)),
            "file_digests": self.file_digests,
            "file_records": self.file_records,
            "modes": self.modes,
            "folders": texts_bytes(("", *self.folders)),
            "folder_digests": self.folder_digests,
            "folder_records": self.folder_records,
        }

    @classmethod
    def read(cls, sections: Sections) -> Witness:
        """What ``sections()`` gave. Raises Damaged."""
        found = cls(
            sections.read("root").decode("utf-8", "surrogateescape"),
            tuple(sections.texts("files")),
            sections.read("file_digests"),
            sections.read("file_records"),
            sections.read("modes"),
            tuple(sections.texts("folders")[1:]),
            sections.read("folder_digests"),
            sections.read("folder_records"),
        )
        files, folders = len(found.files), len(found.folders)
        sizes = [len(found.file_digests), len(found.file_records), len(found.modes)]
        sizes += [len(found.folder_digests), len(found.folder_records)]
        if sizes != [files * _HASH, files * _WIDTH, files, folders * _HASH, folders * _WIDTH]:
            raise Damaged("a witness whose columns differ in length")
        return found


def _records(root: str, paths: Sequence[str]) -> bytes:
    """The hot loop: one stat and one pack per path. Paths are looked up from the root's descriptor."""
    status, pack = os.stat, _RECORD.pack
    found: list[bytes] = []
    add = found.append
    at = os.open(root, os.O_PATH)
    try:
        for path in paths:
            try:
                s = status(path or ".", dir_fd=at)
            except OSError:
                add(_ABSENT)
            else:
                add(pack(s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev, s.st_mode))
    finally:
        os.close(at)
    return b"".join(found)


def _settle(root: str, paths: Sequence[str]) -> None:
    """Wait until an edit of any of the paths cannot leave its record as it is now: at most a tick."""
    records = _RECORD.iter_unpack(_records(root, paths))
    newest = max((max(times) for _, *times, _, _, _ in records), default=0)
    left = newest + TICK_NS - time.time_ns()
    if left > 0:  # a time in the future is no reason to wait for it
        time.sleep(min(left, TICK_NS) / 1e9)


def _differing(now: bytes, then: bytes) -> list[int]:
    if now == then:
        return []
    return [at // _WIDTH for at in range(0, len(now), _WIDTH) if now[at : at + _WIDTH] != then[at : at + _WIDTH]]


def _homes_of_links(root: Path, files: Mapping[str, str], folders: Mapping[str, str]) -> dict[str, str]:
    """The folders of files that are links, so that a link led elsewhere is noticed."""
    homes = {os.path.dirname(path) for path in files if _appearance(root / path) == _LINK}
    return {home: listing_digest(root / home) for home in sorted(homes) if home not in folders}


def _content(place: Path, digest: Look) -> str:
    try:
        return digest(place).hash
    except OSError:
        return NOTHING


_LINK, _NONE = 2, 3


def _appearance(place: Path) -> int:
    """What a tree shows of a file besides its bytes: 0 plain, 1 executable, 2 a link, 3 nothing there."""
    try:
        mode = os.lstat(place).st_mode
    except OSError:
        return _NONE
    return _LINK if stat.S_ISLNK(mode) else int(bool(mode & 0o100))


def _raw(digest: str) -> bytes:
    return bytes.fromhex(digest) if digest else bytes(_HASH)


def _at(column: bytes, number: int, width: int) -> bytes:
    return column[number * width : (number + 1) * width]
