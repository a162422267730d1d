"""Every row of archives.json: an archive that must be refused, and with what words.

A row makes its archive from a small language, so that what is wrong with it can be read:

- ``members``: header fields of tar or zip members. ``type`` is file, dir, symlink, hardlink, chr, blk, fifo
  or ``raw:<flag>``; ``name``, ``text``, ``target``, ``mode``, ``uid``, ``pax`` (records before it); ``name_hex``
  for names that are no text; ``fields`` overwrites header fields by offset (hex), before the checksum.
- ``long_name``: so many directories in a GNU long name, each called ``part``.
- ``repeat``: the last member so many times, with a number in its name. ``zeros``: content of zeros.
- ``compress``: gzip, xz, zst, bz2. ``mangle``: what happens to the finished bytes, in order.
- ``bytes_hex``: the archive itself, instead of all that. ``options``: how it is unpacked.
- ``error`` null means that the archive is good and gives ``tree``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import zstandard

from hermetic import errors, tree
from hermetic.archive.tree import Options
from hermetic.archive.unpack import unpack_stream
from hermetic.digest import Digest

ROWS = json.loads(Path(__file__).with_name("archives.json").read_text())
FLAGS = {"file": "0", "hardlink": "1", "symlink": "2", "chr": "3", "blk": "4", "dir": "5", "fifo": "6"}
MODES = {"dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO, "chr": stat.S_IFCHR, "blk": stat.S_IFBLK}


class RecordingStore:
    """Keeps what is stored; large contents by digest only."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def put(self, data: bytes) -> Digest:
        self.blobs[Digest.of(data)] = data
        return Digest.of(data)

    def put_stream(self, stream: BinaryIO) -> Digest:
        return self.put(b"".join(iter(lambda: stream.read(1 << 20), b"")))


def octal(value: int, width: int) -> bytes:
    return f"{value:0{width - 1}o}".encode() + b"\0"


def header(name: bytes, flag: bytes, size: int, member: dict[str, Any]) -> bytes:
    raw = bytearray(512)
    raw[0 : len(name[:100])] = name[:100]
    raw[100:108] = octal(int(str(member.get("mode", "644")), 8), 8)
    raw[108:116] = raw[116:124] = octal(member.get("uid", 0), 8)
    raw[124:136] = octal(size, 12)
    raw[136:148] = octal(0, 12)
    raw[156:157] = flag
    target = member.get("target", "").encode()[:100]
    raw[157 : 157 + len(target)] = target
    raw[257:265] = b"ustar\x0000"
    for offset, value in member.get("fields", {}).items():
        raw[int(offset) : int(offset) + len(value) // 2] = bytes.fromhex(value)
    raw[148:156] = b" " * 8
    raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    return bytes(raw)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax_record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size += 1
    return str(size).encode() + rest


def tar_member(member: dict[str, Any]) -> bytes:
    flag = member["type"].removeprefix("raw:") if member["type"].startswith("raw:") else FLAGS[member["type"]]
    data = b""
    for key in ("pax", "pax_global"):
        if key in member or f"{key}_raw" in member:
            records = member.get(f"{key}_raw", "").encode("latin-1")
            records += b"".join(pax_record(name, value) for name, value in member.get(key, {}).items())
            data += header(b"PaxHeaders/x", b"x" if key == "pax" else b"g", len(records), {}) + padded(records)
    if "long_name" in member:
        name = f"{member.get('part', 'x')}/".encode() * member["long_name"]
        data += header(b"././@LongLink", b"L", len(name) + 1, {}) + padded(name + b"\0")
    name = bytes.fromhex(member["name_hex"]) if "name_hex" in member else member["name"].encode()
    content = bytes(member["zeros"]) if "zeros" in member else member.get("text", "").encode()
    return data + header(name, flag.encode(), member.get("size", len(content)), member) + padded(content)


def members(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from row["members"]
    for number in range(row.get("repeat", 0)):
        yield {**row["members"][-1], "name": f"{row['members'][-1]['name']}{number}"}


def make_zip(row: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members(row):
            info = zipfile.ZipInfo(member["name"])
            mode = int(str(member.get("mode", "644")), 8)
            info.create_system, info.external_attr = 3, (MODES.get(member["type"], stat.S_IFREG) | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            content = bytes(member["zeros"]) if "zeros" in member else member.get("text", "").encode()
            archive.writestr(info, member.get("target", "").encode() or content)
    return file.getvalue()


def ar(name: str, content: bytes) -> bytes:
    return (
        f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
    )


def make_deb(row: dict[str, Any]) -> bytes:
    data = gzip.compress(make_tar(row), mtime=0)
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": gzip.compress(bytes(1024)), "data.tar.gz": data}
    order = row.get("parts", list(parts))
    return b"!<arch>\n" + b"".join(ar(name, parts.get(name, b"")) for name in order)


def make_tar(row: dict[str, Any]) -> bytes:
    return b"".join(tar_member(member) for member in members(row)) + bytes(0 if row.get("no_end") else 1024)


COMPRESS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}


def archive_of(row: dict[str, Any]) -> bytes:
    if "bytes_hex" in row:
        data = bytes.fromhex(row["bytes_hex"])
    else:
        data = {"tar": make_tar, "zip": make_zip, "deb": make_deb}[row.get("format", "tar")](row)
    if "compress" in row:
        data = COMPRESS[row["compress"]](data)
    for step in row.get("mangle", []):
        ((what, value),) = step.items()
        if what == "cut":  # bytes lost at the end
            data = data[:-value]
        elif what == "append_hex":
            data += bytes.fromhex(value)
        elif what == "prepend_hex":
            data = bytes.fromhex(value) + data
        elif what == "twice":  # the same again, compressed or not
            data += data
        elif what == "replace":  # [old, new], same length
            old, new = (part.encode("latin-1") for part in value)
            assert len(old) == len(new) and old in data
            data = data.replace(old, new)
        else:  # flip one byte, counted from the end
            assert what == "flip"
            data = data[:-value] + bytes([data[-value] ^ 0xFF]) + data[len(data) - value + 1 :]
    return data


def contents(row: dict[str, Any]) -> set[bytes]:
    """What the files of a row hold."""
    return {bytes(m["zeros"]) if "zeros" in m else m.get("text", "").encode() for m in row.get("members", [])}


def outside(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_row(row: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    (tmp_path / "victim").write_text("untouched")
    monkeypatch.chdir(inside)
    before = outside(tmp_path)
    store = RecordingStore()
    options = Options.from_params(row.get("options", {}))
    stream = io.BytesIO(archive_of(row))
    if row["error"] is None:
        root = unpack_stream(stream, options, store, "it")  # type: ignore[arg-type]
        assert listing(root, store) == row["tree"]
    else:
        with pytest.raises(errors.HbError) as caught:
            unpack_stream(stream, options, store, "it")  # type: ignore[arg-type]
        assert type(caught.value).__name__ == row["error"]
        assert row["phrase"] in str(caught.value)
        assert caught.value.exit_code == 1
        assert set(store.blobs.values()) <= contents(row), "a refused archive must leave no tree"
    assert outside(tmp_path) == before, "something was written to disk"
    assert (tmp_path / "victim").read_text() == "untouched"


def listing(root: Digest, store: RecordingStore) -> dict[str, str]:
    found = {}
    for path, node in tree.walk(root, store.blobs.__getitem__):
        if isinstance(node, tree.File):
            found[path] = "whiteout" if node.meta.whiteout else store.blobs[node.digest].decode()
        elif isinstance(node, tree.Symlink):
            found[path] = f"-> {node.target}"
        elif node.meta.opaque:
            found[path] = "opaque"
    return found


def test_rows_are_worth_keeping() -> None:
    assert len({row["id"] for row in ROWS}) == len(ROWS) >= 60
    for row in ROWS:
        assert row["teaches"], f"{row['id']} does not say what taught it"
        assert row["error"] is None or len(row["phrase"]) > 5


def test_unpacking_never_opens_a_file_for_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strongest form of "nothing outside": no system call that could write is reached at all."""

    def forbidden(*arguments: object, **_: object) -> None:
        raise AssertionError(f"the extractor touched the disk: {arguments}")

    good = io.BytesIO(make_tar({"members": [{"name": "a/b", "type": "file", "text": "x"}]}))
    for name in ("open", "mkdir", "symlink", "link", "rename", "mknod", "chmod", "chown", "unlink"):
        monkeypatch.setattr(os, name, forbidden)
    monkeypatch.setattr("builtins.open", forbidden)
    store = RecordingStore()
    assert unpack_stream(good, Options(), store, "it") in store.blobs  # type: ignore[arg-type]
