"""Debian: the user's own mirrors, and files from their pools.

The repository names no mirror. Where packages come from is read from the apt sources of the machine:
archives with the component ``main`` whose signing key is Debian's. Files are pinned by SHA-256 in
locks, so a mirror is a convenience and never trusted.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hermetic.errors import FetchError
from hermetic.fetch import http
from hermetic.fetch.spec import FetchReply, FetchRequest

SOURCES = Path("/etc/apt")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SECURITY_POOL = "pool/updates/"
_SUITE = re.compile(
    r"(?:oldoldstable|oldstable|stable|testing|unstable|experimental|sid|bullseye|bookworm|trixie|forky|duke)"
    r"(?:-updates|-security|-backports|-proposed-updates|/updates)?"
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """An archive's base URI and what signs it: a keyring's path, or an armoured key as deb822 has it."""

    uri: str
    signed_by: str
    security: bool = False

    def serves(self, suite: str) -> bool:
        return self.security == suite.endswith("-security")


@dataclass(frozen=True, slots=True)
class _Archive:
    """One line, or one stanza and URI, of apt's sources."""

    uri: str
    suites: list[str]
    components: list[str]
    signed_by: str


def mirrors(etc: Path = SOURCES) -> list[Mirror]:
    """Debian archives of this machine's apt configuration. FetchError when there is none."""
    found: dict[str, Mirror] = {}
    for archive in _archives(etc):
        if _is_debian(archive):
            uri = archive.uri.rstrip("/")
            security = any(suite.endswith(("-security", "/updates")) for suite in archive.suites)
            found.setdefault(uri, Mirror(uri, archive.signed_by or KEYRING, security))
    if not any(not mirror.security for mirror in found.values()):
        raise FetchError(
            f"apt's sources below {etc} name no Debian archive",
            hint="add one (component main, by http or https): hb fetches packages from where apt does",
        )
    return list(found.values())


def _is_debian(archive: _Archive) -> bool:
    """By the name of its keyring; where the source names none, by the names of its suites. A key
    written into the source says nothing, so there too."""
    if "main" not in archive.components or not archive.uri.startswith(("http://", "https://")):
        return False
    if archive.signed_by.startswith("/"):
        return "debian" in archive.signed_by.rpartition("/")[2]
    return any(_SUITE.fullmatch(suite) for suite in archive.suites)


def _archives(etc: Path) -> Iterator[_Archive]:
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from _deb822(text) if path.suffix == ".sources" else _one_line(text)


def _deb822(text: str) -> Iterator[_Archive]:
    """deb822 sources (sources.list(5)); comment lines may stand anywhere."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", plain):
        fields = {
            name.lower(): value.strip()
            for name, value in re.findall(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.M)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
            yield _Archive(uri, suites, components, fields.get("signed-by", ""))


def _one_line(text: str) -> Iterator[_Archive]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match:
            options = dict(part.split("=", 1) for part in (match[1] or "").split() if "=" in part)
            yield _Archive(match[2], [match[3]], match[4].split(), options.get("signed-by", ""))


def fetch(requests: Sequence[FetchRequest], work: Path, etc: Path = SOURCES) -> list[FetchReply]:
    """The fetcher of the operation ``debian``: files of the pool, by path."""
    try:
        known = mirrors(etc)
    except FetchError as error:
        return [FetchReply(None, error) for _ in requests]
    located = [
        FetchRequest(
            request.label,
            {**request.params, "size": request.unkeyed["size"]},
            {"urls": urls(known, str(request.unkeyed["filename"]))},
        )
        for request in requests
    ]
    replies = http.fetch(located, work)
    return [_explained(request, reply) for request, reply in zip(requests, replies, strict=True)]


def urls(known: Sequence[Mirror], filename: str) -> list[str]:
    """Where a file of the pool may be, the likely archive first."""
    ordered = sorted(known, key=lambda mirror: mirror.security != filename.startswith(SECURITY_POOL))
    return [f"{mirror.uri}/{quote(filename)}" for mirror in ordered]


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


def with_apt_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the proxies of apt's configuration, where it has some: they win, as in apt."""
    argv = ["apt-config", "dump", "--format", "%f=%v%n", "Acquire::http::Proxy", "Acquire::https::Proxy"]
    try:
        done = subprocess.run(argv, env=dict(environ), capture_output=True, text=True, check=False)
    except OSError:
        return dict(environ)
    found, direct = dict(environ), []
    for name, _, value in (line.partition("=") for line in done.stdout.splitlines()):
        parts = name.split("::")
        if len(parts) == 3 and value and value != "DIRECT":
            found[f"{parts[1].lower()}_proxy"] = value
        elif len(parts) == 4 and value == "DIRECT":
            direct.append(parts[3])
    if direct:
        found["no_proxy"] = ",".join([*filter(None, [environ.get("no_proxy", "")]), *direct])
    return found
