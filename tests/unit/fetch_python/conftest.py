"""A Python index of our own: projects with wheels and sources made on the spot."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_servers import NOT_FOUND, Answering, Reply

from hermetic.fetch.python import normal

VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "PIP_CONFIG_FILE",
)


def wheel(name: str, version: str, requires: tuple[str, ...] = ()) -> bytes:
    raw = io.BytesIO()
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(raw, "w") as file:
        file.writestr(f"{info}/METADATA", metadata + "".join(f"Requires-Dist: {one}\n" for one in requires))
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hb\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return raw.getvalue()


def sdist(name: str, version: str, files: dict[str, str]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{path}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return raw.getvalue()


class Index(Answering):
    """``answers``: path → what to say instead of what ``files`` say."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.answers: dict[str, Reply] = {}
        self.json = False
        self.hashes = True
        super().__init__()

    def add(self, project: str, filename: str, data: bytes) -> str:
        self.files.setdefault(normal(project), {})[filename] = data
        return hashlib.sha256(data).hexdigest()

    def wheel(self, name: str, version: str, tag: str = "py3-none-any", requires: tuple[str, ...] = ()) -> str:
        filename = f"{name.replace('-', '_')}-{version}-{tag}.whl"
        return self.add(name, filename, wheel(name, version, requires))

    def answer(self, path: str) -> Reply:
        if path in self.answers:
            return self.answers[path]
        parts = path.strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2 and parts[1] in self.files:
            return self._page(parts[1])
        if parts[0] == "files" and len(parts) == 3:
            data = self.files.get(parts[1], {}).get(parts[2].replace("%2B", "+"))
            return (200, "application/octet-stream", data) if data is not None else NOT_FOUND
        return NOT_FOUND

    def _page(self, project: str) -> Reply:
        found = [
            (name, f"/files/{project}/{name.replace('+', '%2B')}", hashlib.sha256(data).hexdigest())
            for name, data in self.files[project].items()
        ]
        if self.json:
            rows = [{"filename": n, "url": u, "hashes": {"sha256": h} if self.hashes else {}} for n, u, h in found]
            body = json.dumps({"meta": {"api-version": "1.0"}, "name": project, "files": rows}).encode()
            return 200, "application/vnd.pypi.simple.v1+json", body
        links = [f'<a href="../..{u}{f"#sha256={h}" if self.hashes else ""}">{n}</a>' for n, u, h in found]
        return 200, "text/html", ("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>").encode()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No index of the machine plays a part."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The configured index."""
    made = Index()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{made.url}/simple")
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Index]:
    """Another index, not configured."""
    made = Index()
    yield made
    made.close()


@pytest.fixture(name="sdist")
def sdist_fixture() -> Any:
    return sdist
