"""Debian packages made on the spot, and ways to look at what became of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.fetch import deb_unpack
from hermetic.store.memory import MemoryStore
from hermetic.store.operation import Resolved, Workbench

Members: TypeAlias = Mapping[str, Any]
MakeDeb: TypeAlias = Callable[..., bytes]


def tar_of(members: Members, codec: str = "xz") -> bytes:
    """A tar. Values: text is a file, a tuple (text, mode, uid, gid) one with more to it, "-> x" a
    symbolic link, None or (mode, uid, gid) a directory."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=f"w:{codec}" if codec else "w", format=tarfile.GNU_FORMAT) as tar:
        for name, value in members.items():
            info = tarfile.TarInfo(f"./{name}")
            text, info.mode = "", 0o644
            if value is None or (isinstance(value, tuple) and isinstance(value[0], int)):
                info.type = tarfile.DIRTYPE
                info.mode, info.uid, info.gid = value or (0o755, 0, 0)
            elif isinstance(value, tuple):
                text, info.mode, info.uid, info.gid = value
            elif value.startswith("-> "):
                info.type, info.linkname = tarfile.SYMTYPE, value.removeprefix("-> ")
            else:
                text = value
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return raw.getvalue()


def ar_of(members: Sequence[tuple[str, bytes]]) -> bytes:
    found = [b"!<arch>\n"]
    for name, data in members:
        found.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        found.append(data + (b"\n" if len(data) % 2 else b""))
    return b"".join(found)


def make_deb(name: str, files: Members, *, codec: str = "xz", scripts: Members | None = None, **fields: str) -> bytes:
    """A package. ``fields`` are control fields, with underscores for dashes."""
    wanted = {"Package": name, "Version": "1.0", "Architecture": "amd64", "Maintainer": "M <m@example.org>"}
    wanted |= {key.replace("_", "-"): value for key, value in fields.items()}
    control = "".join(f"{key}: {value}\n" for key, value in wanted.items()) + "Description: a test\n of packages\n"
    suffix = f".{codec}" if codec else ""
    return ar_of(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{suffix}", tar_of({"control": control, **(scripts or {})}, codec)),
            (f"data.tar{suffix}", tar_of(files, codec)),
        ]
    )


class Unpacker:
    """The two operations on packages in a store in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.bench = Workbench(store, Path("/nowhere"), Path("/nowhere"))

    def deb(self, data: bytes) -> Mapping[str, Resolved]:
        return deb_unpack.deb({}, {"/deb": Resolved(Kind.BLOB, self.store.put(data))}, self.bench)

    def rootfs(self, *debs: bytes, state: str = "unpacked", arch: str = "amd64") -> Digest:
        inputs: dict[str, Resolved] = {}
        for number, data in enumerate(debs):
            made = self.deb(data)
            inputs |= {f"/data/{number:04d}": made["data"], f"/control/{number:04d}": made["control"]}
        return deb_unpack.rootfs({"state": state, "arch": arch}, inputs, self.bench)["out"].digest

    def node(self, root: Digest, path: str) -> Any:
        found = tree.lookup(root, path, self.store.read)
        if isinstance(found, tree.Subdir):
            return tree.Directory.decode(self.store.read(found.digest))
        return found

    def text(self, root: Digest, path: str) -> str:
        node = self.node(root, path)
        assert isinstance(node, tree.File), f"{path} is {node}"
        return self.store.read(node.digest).decode()


@pytest.fixture
def unpacker(memory: MemoryStore) -> Unpacker:
    return Unpacker(memory)


@pytest.fixture(name="make_deb")
def make_deb_fixture() -> MakeDeb:
    return make_deb
