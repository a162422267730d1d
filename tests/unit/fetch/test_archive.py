"""Sound archives: whatever made them, the tree is the one that was packed."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermetic import tree
from hermetic.action import Kind
from hermetic.archive.tree import Options
from hermetic.archive.unpack import unpack, unpack_stream
from hermetic.digest import Digest
from hermetic.errors import ArchiveError, UserError
from hermetic.store.operation import Resolved, Workbench
from hermetic.tree import File, Meta, Symlink

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\\", exclude_categories=("Cs",)), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) < 200)
CONTENTS = st.binary(max_size=1500)
FLAT = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join),
    st.one_of(
        st.tuples(CONTENTS, st.booleans()), NAMES.map(lambda name: name.replace("/", "")), st.just(None)
    ),  # file and its x bit, symlink target, directory
    max_size=12,
)


def consistent(flat: dict[str, Any]) -> dict[str, Any]:
    """Drop what lies below something that is no directory."""
    leaves = {path for path, value in flat.items() if value is not None}
    return {
        path: value
        for path, value in flat.items()
        if not any("/".join(path.split("/")[:depth]) in leaves for depth in range(1, path.count("/") + 1))
        and not (value is not None and any(other.startswith(path + "/") for other in flat))
    }


def expected(flat: dict[str, Any], store: Any) -> Digest:
    nodes: dict[str, File | Symlink | Meta] = {}
    for path, value in flat.items():
        if value is None:
            nodes[path] = Meta()
        elif isinstance(value, str):
            nodes[path] = Symlink(value)
        else:
            nodes[path] = File(store.put(value[0]), value[1])
    return tree.build(nodes, store.put)


def python_tar(flat: dict[str, Any], format_: int, mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=format_) as archive:
        for path, value in flat.items():
            info = tarfile.TarInfo(path)
            if value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif isinstance(value, str):
                info.type, info.linkname = tarfile.SYMTYPE, value
                archive.addfile(info)
            else:
                info.size, info.mode = len(value[0]), 0o755 if value[1] else 0o644
                archive.addfile(info, io.BytesIO(value[0]))
    return file.getvalue()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flat=FLAT.map(consistent),
    format_=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    mode=st.sampled_from(["w", "w:gz", "w:xz", "w:bz2"]),
)
def test_tar_of_python_round_trips(flat: dict[str, Any], format_: int, mode: str, store: Any) -> None:
    data = python_tar(flat, format_, mode)
    assert unpack_stream(io.BytesIO(data), Options(), store, "it") == expected(flat, store)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flat=FLAT.map(consistent))
def test_zip_round_trips(flat: dict[str, Any], store: Any) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, value in flat.items():
            info = zipfile.ZipInfo(path + ("/" if value is None else ""))
            info.create_system = 3
            kind, content = (
                (0o40755, b"") if value is None else (0o120777, value) if isinstance(value, str) else (0, b"")
            )
            if isinstance(value, tuple):
                kind, content = 0o100755 if value[1] else 0o100644, value[0]
            info.external_attr = kind << 16
            archive.writestr(info, content)
    assert unpack_stream(io.BytesIO(file.getvalue()), Options(), store, "it") == expected(flat, store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "source" / "pkg-1.0"
    (top / "bin").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "bin" / "tool").write_text("#!/bin/sh\n")
    (top / "bin" / "tool").chmod(0o755)
    (top / ("n" * 120 + "é")).write_text("long name")
    (top / "link").symlink_to("bin/tool")
    os.link(top / "bin" / "tool", top / "tool-again")
    return top.parent


@pytest.mark.parametrize("flag", [[], ["-z"], ["-J"], ["-j"], ["--zstd"]])
@pytest.mark.parametrize("format_", ["gnu", "pax", "posix"])
def test_tar_of_the_system(folder: Path, store: Any, format_: str, flag: list[str]) -> None:
    subprocess.run(["tar", f"--format={format_}", *flag, "-cf", "../a.tar", "pkg-1.0"], cwd=folder, check=True)
    with (folder.parent / "a.tar").open("rb") as stream:
        root = unpack_stream(stream, Options(strip_prefix="pkg-1.0"), store, "it")
    assert store.texts(root) == {
        "bin/tool": "#!/bin/sh\n",
        "link": "-> bin/tool",
        "tool-again": "#!/bin/sh\n",
        "n" * 120 + "é": "long name",
    }
    assert store.listing(root)["bin/tool"].executable
    assert store.listing(root)["empty"] == Meta()


def tar(*members: tuple[str, bytes, dict[str, Any]], format_: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format_) as archive:
        for name, content, attributes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    file.seek(0)
    return file


def test_owners_and_modes_are_kept_when_asked(store: Any) -> None:
    stream = tar(("su", b"x", {"mode": 0o4755, "uid": 3, "gid": 4_000_000}), ("big", b"y", {"uid": 1 << 31}))
    root = unpack_stream(stream, Options(keep_modes=True, keep_owners=True), store, "it")
    nodes = store.listing(root)
    assert nodes["su"].meta == Meta(mode=0o4755, uid=3, gid=4_000_000)
    assert nodes["big"].meta == Meta(uid=1 << 31)


def test_setuid_is_dropped_unless_asked(store: Any) -> None:
    root = unpack_stream(tar(("su", b"x", {"mode": 0o6755, "uid": 3})), Options(), store, "it")
    assert store.listing(root)["su"] == File(Digest.of(b"x"), True)


def test_xattrs_are_kept_when_asked(store: Any) -> None:
    members = ("x", b"", {"pax_headers": {"SCHILY.xattr.user.hb": "v"}})
    assert store.listing(unpack_stream(tar(members), Options(keep_xattrs=True), store, "it"))["x"].meta.xattrs == (
        ("user.hb", b"v"),
    )
    assert store.listing(unpack_stream(tar(members), Options(), store, "it"))["x"].meta.xattrs == ()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"include": ["**/*.h"]}, {"p/a.h", "p/q/b.h"}),
        ({"include": ["p/q"]}, {"p/q/b.h", "p/q/c.txt"}),
        ({"exclude": ["p/q"]}, {"p/a.h"}),
        ({"strip_prefix": "p/q"}, {"b.h", "c.txt"}),
        ({"strip_components": 1}, {"a.h", "q/b.h", "q/c.txt"}),
        ({"strip_components": 2}, {"b.h", "c.txt"}),
        ({"strip_prefix": "p", "include": ["q/*.txt"]}, {"q/c.txt"}),
        ({}, {"p/a.h", "p/q/b.h", "p/q/c.txt"}),
    ],
)
def test_selecting_and_stripping(store: Any, options: dict[str, Any], names: set[str]) -> None:
    stream = tar(("p/a.h", b"a", {}), ("p/q/b.h", b"b", {}), ("p/q/c.txt", b"c", {}))
    root = unpack_stream(stream, Options.from_params(options), store, "it")
    assert set(store.texts(root)) == names


def test_what_is_left_out_is_not_stored(store: Any) -> None:
    unpack_stream(tar(("a", b"wanted", {}), ("b", b"unwanted", {})), Options(include=("a",)), store, "it")
    assert store.has(Digest.of(b"wanted"))
    assert not store.has(Digest.of(b"unwanted"))


def test_one_compressed_file(store: Any) -> None:
    import gzip

    stream = io.BytesIO(gzip.compress(b"data"))
    root = unpack_stream(stream, Options(format="single", file_name="model.bin"), store, "it")
    assert store.texts(root) == {"model.bin": "data"}
    with pytest.raises(ArchiveError, match="is not a file compressed"):
        unpack_stream(io.BytesIO(b"data"), Options(format="single", file_name="x"), store, "it")


def test_the_operation(store: Any, tmp_path: Path) -> None:
    blob = store.put(tar(("p/x", b"y", {})).getvalue())
    bench = Workbench(store, tmp_path)
    outputs = unpack({"strip_prefix": "p"}, {"/archive": Resolved(Kind.BLOB, blob)}, bench)
    assert store.texts(outputs["out"].digest) == {"x": "y"}
    with pytest.raises(UserError, match="did you mean 'strip_prefix'"):
        unpack({"strip_prefx": "p"}, {"/archive": Resolved(Kind.BLOB, blob)}, bench)
    with pytest.raises(UserError, match="strip_components must be int"):
        unpack({"strip_components": "1"}, {"/archive": Resolved(Kind.BLOB, blob)}, bench)


def python_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b", b"content" * 100)
        archive.writestr("d/", b"")
    return file.getvalue()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_damaged_archives_are_refused_or_read_but_never_crash(data: st.DataObject, store: Any) -> None:
    """Flip bytes anywhere in a sound archive: the answer is a tree or an ArchiveError, nothing else."""
    mode = data.draw(st.sampled_from(["zip", "w", "w:gz", "w:xz", "w:bz2"]))
    files = {"a/b": (b"content" * 100, False), "a/l": "b", "d": None}
    raw = bytearray(python_zip() if mode == "zip" else python_tar(files, tarfile.PAX_FORMAT, mode))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack_stream(io.BytesIO(bytes(raw)), Options(), store, "it")
    except ArchiveError as error:
        assert error.message.startswith("it")
