"""Debian packages and signed archives made on the spot, and ways to look at what became of them."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from web_servers import folder_served

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
        self.bench = Workbench(store, Path("/nowhere"))

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


# --- an archive of our own --------------------------------------------------------------------------


class Archive:
    """A signed Debian archive in a folder, served by HTTP, and an apt configuration that names it."""

    def __init__(self, top: Path, url: str, gpg: Path, asked: list[str]) -> None:
        self.top, self.url, self.gpg, self.asked = top, url, gpg, asked
        self.etc = top / "etc"
        (self.etc / "sources.list.d").mkdir(parents=True)
        self.keyring = top / "debian-test.gpg"
        self.keyring.write_bytes(self._gpg("--export"))
        self.sources("debian", "trixie")
        self.packages: dict[tuple[str, str], list[str]] = {}
        self.records: dict[str, list[str]] = {}

    def _gpg(self, *words: str) -> bytes:
        argv = ["gpg", "--homedir", str(self.gpg), "--batch", "--quiet", *words]
        return subprocess.run(argv, capture_output=True, check=True).stdout

    def sources(self, name: str, suite: str, base: str = "debian") -> None:
        (self.etc / "sources.list.d" / f"{name}.sources").write_text(
            f"Types: deb\nURIs: {self.url}/{base}\nSuites: {suite}\nComponents: main\nSigned-By: {self.keyring}\n"
        )

    def add(self, deb: bytes, fields: str, suite: str = "trixie", base: str = "debian", pool: str = "pool/main") -> str:
        """Put a package into the pool and the index. Returns its pool path."""
        known = dict(line.split(": ", 1) for line in fields.strip().splitlines())
        version = known["Version"].replace(":", "%3a")
        path = f"{pool}/{known['Package'][0]}/{known['Package']}_{version}_{known['Architecture']}.deb"
        place = self.top / base / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(deb)
        record = f"{fields.strip()}\nFilename: {path}\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
        self.packages.setdefault((base, suite), []).append(record)
        return path

    def add_source(self, package: str, version: str, files: Mapping[str, bytes], suite: str = "trixie") -> None:
        lines = [f"Package: {package}", f"Version: {version}", "Binary: x", "Format: 3.0 (quilt)", "Architecture: any"]
        lines += [f"Directory: pool/main/{package[0]}/{package}", "Checksums-Sha256:"]
        folder = self.top / f"debian/pool/main/{package[0]}/{package}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
        lines.append("Files:")
        lines += [f" {hashlib.md5(data).hexdigest()} {len(data)} {name}" for name, data in files.items()]
        self.records.setdefault(suite, []).append("\n".join(lines) + "\n")

    def publish(self, suite: str = "trixie", base: str = "debian", *, release: str = "") -> Path:
        """Write and sign the indexes. Returns the suite's folder."""
        folder = self.top / base / "dists" / suite
        indexes = {}
        for arch in ("amd64", "arm64"):
            mine = [r for r in self.packages.get((base, suite), []) if f"Architecture: {arch}" in r or ": all" in r]
            indexes[f"main/binary-{arch}/Packages"] = "\n".join(mine)
        indexes["main/source/Sources"] = "\n".join(self.records.get(suite, []))
        sums = []
        for name, text in indexes.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
            sums.append(f" {hashlib.sha256(text.encode()).hexdigest()} {len(text.encode())} {name}")
        text = (
            f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64 arm64\nComponents: main\n{release}"
        )
        (folder / "Release").write_text(f"{text}Date: {formatdate(usegmt=True)}\nSHA256:\n" + "\n".join(sums) + "\n")
        (folder / "InRelease").write_bytes(self._gpg("--clearsign", "--output", "-", str(folder / "Release")))
        return folder


@pytest.fixture(scope="session")
def gpg_home() -> Iterator[Path]:
    """A signing key. A short path of its own: gpg's agent listens on a socket in it."""
    if not all(map(shutil.which, ("gpg", "gpgv", "apt-get"))):
        pytest.skip("apt or gpg is not on this machine")
    home = Path(tempfile.mkdtemp(prefix="hbgpg"))
    argv = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", "--quick-generate-key"]
    subprocess.run([*argv, "Test <test@example.org>", "rsa2048", "sign", "never"], check=True, capture_output=True)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def archive(tmp_path: Path, gpg_home: Path) -> Iterator[Archive]:
    asked: list[str] = []
    top = tmp_path / "www"
    top.mkdir()
    with folder_served(top, asked) as url:
        yield Archive(top, url, gpg_home, asked)
