"""Crates by hash, from the registry the user's own cargo is configured for.

cargo is asked once per batch: it resolves a package with a single dependency, and what it then knows of
its registry (the index's ``config.json``) says where crate files are. The files themselves are pinned.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hermetic.errors import FetchError
from hermetic.fetch import http
from hermetic.fetch.spec import FetchReply, FetchRequest


def fetch(requests: Sequence[FetchRequest], work: Path) -> list[FetchReply]:
    """The fetcher of the operation ``crate``."""
    first = requests[0].unkeyed
    try:
        template = download_template(str(first["name"]), str(first["version"]), work / "cargo")
    except FetchError as error:
        return [FetchReply(None, error) for _ in requests]
    files = work / "crates"
    files.mkdir()
    located = [
        FetchRequest(
            request.label,
            request.params,
            {"urls": [crate_url(template, *(str(text) for text in _identity(request)))]},
        )
        for request in requests
    ]
    replies = http.fetch(located, files)
    return [_explained(request, reply) for request, reply in zip(requests, replies, strict=True)]


def _explained(request: FetchRequest, reply: FetchReply) -> FetchReply:
    if reply.error is None:
        return reply
    error = FetchError(
        f"the crate {request.unkeyed['name']} {request.unkeyed['version']}: {reply.error.message}",
        label=request.label,
        hint="check Cargo.lock's checksums and the registry cargo is configured for",
    )
    return FetchReply(None, error)


def _identity(request: FetchRequest) -> tuple[object, object, object]:
    return request.unkeyed["name"], request.unkeyed["version"], request.params["sha256"]


def crate_url(template: str, name: str, version: str, sha256: str) -> str:
    """The URL of a crate file, from an index's ``dl`` value (Cargo book, "Registry index format")."""
    markers = {
        "{crate}": name,
        "{version}": version,
        "{prefix}": prefix(name),
        "{lowerprefix}": prefix(name.lower()),
        "{sha256-checksum}": sha256,
    }
    if not any(marker in template for marker in markers):
        return f"{template.rstrip('/')}/{name}/{version}/download"
    for marker, value in markers.items():
        template = template.replace(marker, value)
    return template


def prefix(name: str) -> str:
    """The folder of a crate in an index."""
    if len(name) <= 2:
        return str(len(name))
    return f"3/{name[0]}" if len(name) == 3 else f"{name[:2]}/{name[2:4]}"


def download_template(name: str, version: str, work: Path) -> str:
    """Where the user's registry keeps crate files: its index's ``dl``."""
    home = work / "home"
    (work / "src").mkdir(parents=True)
    home.mkdir()
    (work / "src" / "lib.rs").touch()
    manifest = (
        f'[package]\nname = "hb-ask"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n{name} = "={version}"\n'
    )
    (work / "Cargo.toml").write_text(manifest, encoding="utf-8")
    own = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    for config in ("config.toml", "config", "credentials.toml"):
        if (own / config).is_file():
            shutil.copy(own / config, home / config)
    env = {**os.environ, "CARGO_HOME": str(home), "CARGO_TERM_COLOR": "never"}
    try:
        done = subprocess.run(
            ["cargo", "generate-lockfile"], cwd=work, env=env, capture_output=True, text=True, check=False
        )
    except (FileNotFoundError, PermissionError):  # the latter: a folder of PATH that this user may not enter
        raise FetchError("cargo is not here", hint="install cargo: it knows which registry you use") from None
    for found in sorted((home / "registry" / "index").glob("*/config.json")):
        template = json.loads(found.read_text(encoding="utf-8")).get("dl")
        if isinstance(template, str):
            return template
    raise FetchError(f"cargo cannot reach its registry: {done.stderr.strip()[-1500:]}")
