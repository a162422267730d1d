"""Python files by hash, from the user's own index.

Which index that is, the environment of pip and uv says, pip's configuration after it, and else uv, which
is asked for its own configuration and default. A file is found on the index's page of its project and
verified by the pin; the page is never trusted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from hermetic.errors import FetchError
from hermetic.fetch import http
from hermetic.fetch.spec import FetchReply, FetchRequest
from hermetic.fetch.transport import TRANSIENT, Client, Refused, Transient

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PAGES = 8  # project pages read at the same time
PAGE_LIMIT = 64 << 20  # bytes of one project page
ATTEMPTS = 3


@dataclass
class Page:
    """What the indexes list of a project: URLs and claimed SHA-256 by file name, and why an index did
    not answer."""

    links: dict[str, list[str]] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def fetch(requests: Sequence[FetchRequest], work: Path) -> list[FetchReply]:
    """The fetcher of the operation ``python``: wheels and source distributions."""
    try:
        bases = indexes(os.environ)
    except FetchError as error:
        return [FetchReply(None, error) for _ in requests]
    names = sorted({normal(str(request.unkeyed["name"])) for request in requests})
    with ThreadPoolExecutor(PAGES) as pool:
        pages = dict(zip(names, pool.map(lambda name: page_of(bases, name), names), strict=True))
    mine = [pages[normal(str(request.unkeyed["name"]))] for request in requests]
    located = [
        FetchRequest(request.label, request.params, {"urls": page.links.get(str(request.unkeyed["filename"]), [])})
        for request, page in zip(requests, mine, strict=True)
    ]
    replies = http.fetch(located, work)
    return [
        _explained(request, reply, page, bases) for request, reply, page in zip(requests, replies, mine, strict=True)
    ]


def _explained(request: FetchRequest, reply: FetchReply, page: Page, bases: Sequence[str]) -> FetchReply:
    if reply.error is None:
        return reply
    filename, hosts = str(request.unkeyed["filename"]), ", ".join(map(_host, bases))
    hint = f"`hb lock {request.label}` pins what the index has now"
    why = f"{filename}: {reply.error.message}"
    if filename not in page.links:
        why = f"{filename} is not listed by {hosts}"
        if page.failures:
            why, hint = (
                f"{why}: {'; '.join(page.failures)}",
                "check the index's address and the proxies, then try again",
            )
    return FetchReply(None, FetchError(why, label=request.label, hint=hint))


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def indexes(environ: Mapping[str, str]) -> list[str]:
    """Base URLs of the user's index, and of extra ones after it."""
    first = configured(environ) or _uv_index(environ)
    if not first:
        raise FetchError("no Python index is configured", hint="set UV_DEFAULT_INDEX or PIP_INDEX_URL")
    return [first, *environ.get("PIP_EXTRA_INDEX_URL", "").split()]


def configured(environ: Mapping[str, str]) -> str:
    """The index the user has chosen by a variable or in pip's configuration, "" when in neither."""
    first = environ.get("PIP_INDEX_URL") or environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    if first:
        return first
    listed = _python(environ, "pip", "config", "list")  # "get" does not see the file of PIP_CONFIG_FILE
    found = dict(re.findall(r"^(install|global)\.index-url='(.*)'$", listed, re.M))
    return found.get("install") or found.get("global") or ""


def _uv_index(environ: Mapping[str, str]) -> str:
    """What uv uses: its configuration says, or uv itself, so that hb need not know."""
    words = ("pip", "compile", "-", "--emit-index-url", "--no-header", "--offline", "--no-cache", "--quiet")
    match = re.search(r"^--index-url (\S+)$", _python(environ, "uv", *words), re.M)
    return match[1] if match else ""


def _python(environ: Mapping[str, str], *module: str) -> str:
    """The output of a Python module's command line; "" when it fails or is not there."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        env=dict(environ),
        cwd="/",  # the folder's own pyproject.toml is not the user's configuration
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def page_of(bases: Sequence[str], name: str) -> Page:
    """The project's pages of all indexes, as one."""
    page = Page()
    for base in bases:
        try:
            for filename, link, sha256 in _ask(f"{base.rstrip('/')}/{name}/"):
                page.links.setdefault(filename, []).append(link)
                page.sha256.setdefault(filename, sha256)
        except (Refused, Transient) as error:
            page.failures.append(f"{_host(base)}: {error}")
    return page


def _ask(url: str) -> list[tuple[str, str, str]]:
    """The files of one page; none where the index has no such project."""
    for attempt in range(ATTEMPTS):
        try:
            with Client().request("GET", url, {"Accept": ACCEPT}) as response:
                if response.status == 404:
                    return []
                if response.status != 200:
                    failure = Transient if response.status in TRANSIENT else Refused
                    raise failure(f"answers {response.status}")
                return parse_page(response.body(PAGE_LIMIT), response.headers.get_content_type(), response.url)
        except Transient:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.5 * 2**attempt)
    return []


def parse_page(body: bytes, content_type: str, url: str) -> list[tuple[str, str, str]]:
    """(file name, absolute URL, SHA-256 or "") of a simple-index page, in HTML (PEP 503) or JSON (PEP
    691). Refused when it is no such page."""
    try:
        if content_type.endswith("json"):
            return [
                (str(file["filename"]), urljoin(url, file["url"]), str(file.get("hashes", {}).get("sha256", "")))
                for file in json.loads(body)["files"]
            ]
        parser = _Links()
        parser.feed(body.decode("utf-8", "replace"))
        base = urljoin(url, parser.base)
        links = [urljoin(base, link).partition("#") for link in parser.found]
        return [
            (unquote(urlsplit(link).path.rpartition("/")[2]), link, dict(parse_qsl(fragment)).get("sha256", ""))
            for link, _, fragment in links
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"has no page of an index there ({type(error).__name__}: {error})") from error


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.found.append(href)
        elif tag == "base" and href:
            self.base = href
