"""Golden layers: the bytes of a tar are a promise. Each case is a small tree; its golden is the tar's
digest and its headers, so that a difference can be read."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.epoch import SOURCE_DATE_EPOCH
from hermetic.errors import ActionError
from hermetic.oci.compress import compressor, decompress
from hermetic.oci.layer import batches
from hermetic.oci.tar import entries, write
from hermetic.store.memory import MemoryStore
from hermetic.tree import File, Meta, Symlink, build

LONG = "d" * 60 + "/" + "e" * 60 + "/" + "f" * 60


def file(text: str | bytes = "x", executable: bool = False, **meta) -> tuple:
    return ("file", text.encode() if isinstance(text, str) else text, executable, Meta(**meta))


def link(target: str, **meta) -> tuple:
    return ("link", target, Meta(**meta))


def folder(**meta) -> tuple:
    return ("dir", Meta(**meta))


TWIN = "t" * 5000
CASES = {
    "empty": {},
    "one-file": {"a": file()},
    "executable": {"a": file("#!", True)},
    "setuid": {"a": file("x", True, mode=0o4755)},
    "setgid-dir": {"a": folder(mode=0o2775)},
    "sticky": {"tmp": folder(mode=0o1777)},
    "mode-0600": {"a": file(mode=0o600)},
    "mode-0000": {"a": file(mode=0)},
    "owner": {"a": file(uid=1000, gid=50)},
    "owner-of-dir": {"a": folder(uid=1000)},
    "owner-of-link": {"a": link("b", uid=1000, gid=1000)},
    "uid-beyond-octal": {"a": file(uid=0o10000000)},
    "gid-beyond-octal": {"a": file(gid=2**31)},
    "empty-file": {"a": file("")},
    "block-511": {"a": file("x" * 511)},
    "block-512": {"a": file("x" * 512)},
    "block-513": {"a": file("x" * 513)},
    "megabyte": {"a": file("x" * (1 << 20)), "b": file("y" * ((1 << 20) + 1))},
    "symlink": {"a": link("b")},
    "symlink-absolute": {"a": link("/etc/passwd")},
    "symlink-100": {"a": link("t" * 100)},
    "symlink-101": {"a": link("t" * 101)},
    "symlink-utf8": {"a": link("ü")},
    "name-100": {"n" * 100: file()},
    "name-101": {"n" * 101: file()},
    "name-split": {f"{LONG[:121]}/x": file()},
    "name-too-long": {f"{LONG}/{'g' * 90}": file()},
    "name-255": {"n" * 255: file()},
    "name-utf8": {"ü": file()},
    "name-utf8-twins": {"u\u0308": file(), "ü": file("y")},
    "name-spaces": {"a b": file(), "a\nb": file()},
    "case-twins": {"A": file(), "a": file()},
    "byte-order": {"b": file(), "B": file(), "a-b": file(), "a/b": file(), "a.b": file(), "é": file()},
    "parents-first": {"z/y/x": file(), "a": file()},
    "twins-small": {"a": file("s"), "b": file("s")},
    "twins-large": {"b": file(TWIN), "a/z": file(TWIN), "c": file(TWIN)},
    "twins-other-mode": {"a": file(TWIN), "b": file(TWIN, True)},
    "twins-other-owner": {"a": file(TWIN), "b": file(TWIN, uid=1)},
    "capability": {"a": file(xattrs=(("security.capability", b"\x01\0\0\x02"),))},
    "xattr-user": {"a": file(xattrs=(("user.b", b"2"), ("user.a", b"1")))},
    "xattr-not-allowed": {"a": file(xattrs=(("security.selinux", b"x"), ("trusted.overlay.opaque", b"y")))},
    "xattr-binary": {"a": file(xattrs=(("user.x", bytes(range(256))),))},
    "whiteout": {"a": file(whiteout=True), "b": file()},
    "whiteout-in-dir": {"d/a": file(whiteout=True), "d/b": file()},
    "opaque": {"d": folder(opaque=True), "d/b": file()},
    "links-off": {"a": file(TWIN), "b": file(TWIN)},
    "remove": {"d/b": file()},
}


def tree_of(case: dict, store: MemoryStore):
    nodes = {}
    for path, (kind, *rest) in case.items():
        if kind == "file":
            nodes[path] = File(store.put(rest[0]), rest[1], rest[2])
        elif kind == "link":
            nodes[path] = Symlink(rest[0], rest[1])
        else:
            nodes[path] = rest[0]
    return build(nodes, store.put)


def tar_of(name: str, case: dict) -> bytes:
    store = MemoryStore()
    remove = ["/d/old", "/gone"] if name == "remove" else []
    members = entries(tree_of(case, store), store.read, links=name != "links-off", remove=remove)
    return b"".join(write(members, store))


@pytest.mark.parametrize("name", CASES)
def test_golden_layer(name: str, golden) -> None:
    data = tar_of(name, CASES[name])
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    headers = [block.hex() for block in blocks if block[257:262] == b"ustar"]
    golden.check(name, {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "headers": headers})


def test_no_stray_goldens(golden) -> None:
    golden.check_no_others(list(CASES))


@pytest.mark.parametrize("name", CASES)
def test_python_reads_what_we_write(name: str) -> None:
    data = tar_of(name, CASES[name])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            assert member.mtime == SOURCE_DATE_EPOCH
            assert (member.uname, member.gname) == ("", "")
    assert len(data) % 512 == 0
    assert data.endswith(bytes(1024))


def test_names_sizes_and_owners_survive() -> None:
    for name, path in (("name-too-long", f"{LONG}/{'g' * 90}"), ("name-255", "n" * 255), ("name-utf8", "ü")):
        with tarfile.open(fileobj=io.BytesIO(tar_of(name, CASES[name]))) as archive:
            assert path in archive.getnames()
    with tarfile.open(fileobj=io.BytesIO(tar_of("gid-beyond-octal", CASES["gid-beyond-octal"]))) as archive:
        assert archive.getmember("a").gid == 2**31


def test_gnu_tar_reads_it_too(tmp_path) -> None:
    for name in ("byte-order", "name-too-long", "twins-large", "capability", "symlink-101"):
        path = tmp_path / f"{name}.tar"
        path.write_bytes(tar_of(name, CASES[name]))
        subprocess.run(["tar", "-tvf", path], check=True, capture_output=True)


def test_a_name_that_deletes_is_refused() -> None:
    with pytest.raises(ActionError, match=r"image layers use to delete"):
        tar_of("x", {".wh.evil": file()})


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_compression_does_not_depend_on_how_it_is_fed(data: bytes, size: int) -> None:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    for kind in ("zstd", "gzip"):
        whole, parts = compressor(kind), compressor(kind)
        one = whole.compress(data) + whole.flush()
        many = b"".join(parts.compress(piece) for piece in batches(iter(pieces))) + parts.flush()
        assert one == many


@pytest.mark.parametrize("kind", ["zstd", "gzip", "none"])
def test_compressed_bytes_are_golden_and_come_back(kind: str, tmp_path) -> None:
    data = b"".join(b"line %d\n" % n for n in range(400_000))
    encoder = compressor(kind)
    packed = b"".join(encoder.compress(piece) for piece in batches([data])) + encoder.flush()
    path = tmp_path / "blob"
    path.write_bytes(packed)
    with decompress(str(path), f"application/vnd.oci.image.layer.v1.tar+{kind}") as stream:
        assert stream.read() == data
    if kind == "gzip":
        assert packed[:10].hex() == "1f8b08000000000000ff"
