"""A sparse registry of our own, with crates made on the spot."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from web_servers import NOT_FOUND, Answering, Reply


def make_crate(
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    *,
    deps: Mapping[str, str] | None = None,
    folder: str = "",
) -> bytes:
    """A .crate file: a library that says its name."""
    manifest = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n[dependencies]\n'
    manifest += "".join(f'{dep} = "{wanted}"\n' for dep, wanted in (deps or {}).items())
    source = f'pub fn name() -> &\'static str {{ "{name} {version}" }}\n'
    members = {"Cargo.toml": manifest, "src/lib.rs": source, **(files or {})}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for path, text in members.items():
            info = tarfile.TarInfo(f"{folder or f'{name}-{version}'}/{path}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return raw.getvalue()


class Registry(Answering):
    """``crates``: what is served, by name and version. ``dl``: the template of the index's config.json,
    from this server's root."""

    def __init__(self) -> None:
        self.index: dict[str, list[str]] = {}
        self.crates: dict[tuple[str, str], bytes] = {}
        self.dl = "/dl"
        super().__init__()

    def answer(self, path: str) -> Reply:
        body = self._body(path)
        return NOT_FOUND if body is None else (200, "application/octet-stream", body)

    def _body(self, path: str) -> bytes | None:
        if path == "/index/config.json":
            return json.dumps({"dl": self.url + self.dl}).encode()
        if path.startswith("/index/"):
            lines = self.index.get(path.rpartition("/")[2])
            return "\n".join(lines).encode() if lines else None
        for (name, version), data in self.crates.items():
            if path == f"/dl/{name}/{version}/download" or path.endswith(f"/{name}-{version}.crate"):
                return data
        return None

    def add(self, name: str, version: str) -> str:
        """Serve a new crate. Its SHA-256."""
        data = make_crate(name, version)
        sha256 = hashlib.sha256(data).hexdigest()
        row = {"name": name, "vers": version, "deps": [], "cksum": sha256, "features": {}, "yanked": False}
        self.index.setdefault(name.lower(), []).append(json.dumps(row))
        self.crates[name, version] = data
        return sha256


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry that the user's cargo is configured for, by source replacement."""
    made = Registry()
    home = tmp_path / "cargo-home"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[source.crates-io]\nreplace-with = "own"\n[source.own]\nregistry = "sparse+{made.url}/index/"\n[net]\nretry = 0\n'
    )
    monkeypatch.setenv("CARGO_HOME", str(home))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield made
    made.close()


@pytest.fixture(name="make_crate")
def make_crate_fixture() -> Any:
    return make_crate
