"""Debian: the user's own mirrors, and files from their pools.

The repository names no mirror. Where packages come from is read from the apt sources of the machine:
the first archive with the component ``main`` whose signing key is Debian's. Files are pinned by
SHA-256 in locks, so a mirror is a convenience and never trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hermetic.errors import FetchError
from hermetic.fetch import http
from hermetic.fetch.spec import FetchReply, FetchRequest

SOURCES = Path("/etc/apt")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True, slots=True)
class Mirror:
    """An archive's base URI and the keyring that signs it."""

    uri: str
    keyring: str


def mirrors(etc: Path = SOURCES) -> list[Mirror]:
    """Debian archives of this machine's apt configuration. FetchError when there is none."""
    found: dict[str, Mirror] = {}
    for uri, suites, components, signed in _archives(etc):
        is_debian = "main" in components and not any("security" in suite for suite in suites)
        if is_debian and (not signed or "debian" in signed):
            found.setdefault(uri.rstrip("/"), Mirror(uri.rstrip("/"), signed or KEYRING))
    if not found:
        raise FetchError(
            f"apt's sources below {etc} name no Debian archive", hint="add one: hb fetches packages from where apt does"
        )
    return list(found.values())


def _archives(etc: Path) -> Iterator[tuple[str, list[str], list[str], str]]:
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for path in files:
        if path.suffix == ".sources":
            yield from _deb822(path.read_text(encoding="utf-8"))
        elif path.suffix == ".list" and path.is_file():
            yield from _one_line(path.read_text(encoding="utf-8"))


def _deb822(text: str) -> Iterator[tuple[str, list[str], list[str], str]]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = {
            name.lower(): value.split()
            for name, value in re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.M)
        }
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        for uri in fields.get("uris", []):
            yield uri, fields.get("suites", []), fields.get("components", []), "".join(fields.get("signed-by", []))


def _one_line(text: str) -> Iterator[tuple[str, list[str], list[str], str]]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+\S+)*)", line)
        if match:
            options = dict(part.split("=", 1) for part in (match[1] or "").split() if "=" in part)
            yield match[2], [match[3]], match[4].split(), options.get("signed-by", "")


def fetch(requests: Sequence[FetchRequest], work: Path) -> list[FetchReply]:
    """The fetcher of the operation ``debian``: files of the pool, by path."""
    try:
        bases = [mirror.uri for mirror in mirrors()]
    except FetchError as error:
        return [FetchReply(None, error) for _ in requests]
    located = [
        FetchRequest(
            request.label,
            {**request.params, "size": request.unkeyed["size"]},
            {"urls": [f"{base}/{quote(request.unkeyed['filename'])}" for base in bases]},
        )
        for request in requests
    ]
    replies = http.fetch(located, work)
    return [_explained(request, reply) for request, reply in zip(requests, replies, strict=True)]


def _explained(request: FetchRequest, reply: FetchReply) -> FetchReply:
    if reply.error is None:
        return reply
    package, version = request.unkeyed["package"], request.unkeyed["version"]
    error = FetchError(
        f"{package} {version}: {reply.error.message}",
        label=request.label,
        hint=f"the archive may have moved on; `hb lock {request.label}` pins what it has now",
    )
    return FetchReply(None, error)
