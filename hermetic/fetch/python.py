"""Python files by hash, from the user's own index.

Which index that is, pip's configuration and environment say, uv's variables after it, and else pip's
own default, asked of pip when it is needed. A file is found on the index's page of its project and
verified by the pin; the page is never trusted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from hermetic.errors import FetchError
from hermetic.fetch import http
from hermetic.fetch.spec import FetchReply, FetchRequest
from hermetic.fetch.transport import Client, Refused, Transient

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
PAGES = 8  # project pages read at the same time


def fetch(requests: Sequence[FetchRequest], work: Path) -> list[FetchReply]:
    """The fetcher of the operation ``python``: wheels and source distributions."""
    try:
        bases = indexes(os.environ)
    except FetchError as error:
        return [FetchReply(None, error) for _ in requests]
    names = sorted({normal(str(request.unkeyed["name"])) for request in requests})
    with ThreadPoolExecutor(PAGES) as pool:
        pages = dict(zip(names, pool.map(lambda name: links_of(bases, name), names), strict=True))
    located = [FetchRequest(request.label, request.params, {"urls": _urls(request, pages)}) for request in requests]
    replies = http.fetch(located, work)
    return [_explained(request, reply, bases) for request, reply in zip(requests, replies, strict=True)]


def _urls(request: FetchRequest, pages: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    page = pages[normal(str(request.unkeyed["name"]))]
    return page.get(str(request.unkeyed["filename"]), [])


def _explained(request: FetchRequest, reply: FetchReply, bases: Sequence[str]) -> FetchReply:
    if reply.error is None:
        return reply
    return FetchReply(
        None,
        FetchError(
            f"{request.unkeyed['filename']} from {', '.join(map(_host, bases))}: {reply.error.message}",
            label=request.label,
            hint=f"`hb lock {request.label}` pins what the index has now",
        ),
    )


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def indexes(environ: Mapping[str, str]) -> list[str]:
    """Base URLs of the user's index, and of extra ones after it."""
    first = environ.get("PIP_INDEX_URL") or environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    first = first or _pip("config", "get", "global.index-url") or _pip_default()
    if not first:
        raise FetchError("no Python index is configured", hint="pip config set global.index-url URL")
    return [first, *environ.get("PIP_EXTRA_INDEX_URL", "").split()]


def _pip(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _pip_default() -> str:
    """What pip uses when nobody says anything; pip knows, so that hb need not."""
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def links_of(bases: Sequence[str], name: str) -> dict[str, list[str]]:
    """File name → URLs on the project's pages of all indexes; empty where there is no page."""
    found: dict[str, list[str]] = {}
    for base in bases:
        url = f"{base.rstrip('/')}/{name}/"
        for attempt in range(3):
            try:
                with Client().request("GET", url, {"Accept": ACCEPT}) as response:
                    if response.status == 200:
                        body = b"".join(response.pieces())
                        for filename, link in parse_page(body, response.headers.get_content_type(), response.url):
                            found.setdefault(filename, []).append(link)
                break
            except Transient:
                if attempt == 2:
                    break
            except Refused:
                break
    return found


def parse_page(body: bytes, content_type: str, url: str) -> list[tuple[str, str]]:
    """(file name, absolute URL) of a simple-index page, in HTML (PEP 503) or JSON (PEP 691)."""
    if content_type.endswith("json"):
        files = json.loads(body)["files"]
        return [(file["filename"], urljoin(url, file["url"])) for file in files]
    parser = _Links()
    parser.feed(body.decode("utf-8", "replace"))
    base = parser.base or url
    return [
        (unquote(urlsplit(link).path.rpartition("/")[2]), urljoin(base, link).partition("#")[0])
        for link in parser.found
    ]


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
