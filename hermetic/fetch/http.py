"""Files by HTTP, pinned by SHA-256: mirrors in order, retries, resumed transfers.

Guarantees: what a reply names has the pinned digest. A transfer that broke goes on where it stopped
when the server lets it (RFC 9110 §14: Range with If-Range) and from the start when it does not; a
resumed file with a wrong digest is fetched once more from the start before its mirror is given up.
An error lists every mirror and why it did not serve.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

from hermetic.errors import FetchError, HbError
from hermetic.fetch.login import Login, login_of
from hermetic.fetch.spec import FetchReply, FetchRequest
from hermetic.fetch.transport import TRANSIENT, Client, Refused, Response, Transient, public_url

PARALLEL = 8
PATIENCE = 60.0  # seconds; a server that asks for a longer pause is left for the next mirror
_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pin:
    """What is wanted: 64 hex digits, and the size in bytes when it is known."""

    sha256: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How often one mirror is asked, and how long hb waits in between: ``base`` · 2ⁿ seconds, half of
    it random."""

    attempts: int = 4
    base: float = 0.5
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def wait(self, attempt: int, asked: float) -> None:
        delay = min(self.base * 2.0**attempt, 30.0)
        self.sleep(max(asked, delay / 2 + delay / 2 * self.jitter()))


def fetch(requests: Sequence[FetchRequest], work: Path) -> list[FetchReply]:
    """The fetcher of the operation ``http``."""
    client = Client()

    def one(numbered: tuple[int, FetchRequest]) -> FetchReply:
        number, request = numbered
        path = work / str(number)
        try:
            urls, login = request.unkeyed.get("urls", ()), login_of(request)
            download(client, urls, pin_of(request.params), path, Patience(), request.label, login)
        except HbError as error:
            return FetchReply(None, error if isinstance(error, FetchError) else FetchError(error.message))
        except OSError as error:
            return FetchReply(None, FetchError(f"cannot write {path.name}: {error}"))
        return FetchReply(path)

    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(one, enumerate(requests)))


def pin_of(params: Mapping[str, object]) -> Pin:
    sha256, size = params.get("sha256"), params.get("size")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise FetchError(f"not pinned: sha256 is {sha256!r}", hint="`hb lock` writes the pin, or give sha256 yourself")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise FetchError(f"size must be a number of bytes, not {size!r}")
    return Pin(sha256, size)


def download(
    client: Client,
    urls: Sequence[str],
    pin: Pin,
    path: Path,
    patience: Patience,
    label: str = "",
    login: Login | None = None,
) -> None:
    """Put the pinned file at ``path``, from the first of ``urls`` that has it. Raises FetchError."""
    if not urls:
        raise FetchError(
            f"nothing says where to fetch sha256 {pin.sha256} from",
            label=label,
            hint="give url or urls in the BUILD.py",
        )
    tried = []
    for url in urls:
        path.unlink(missing_ok=True)
        try:
            headers = login.header if login and login.goes_to(url) else {}
            _from_mirror(client, url, pin, path, patience, headers)
            return
        except (Refused, Transient) as error:
            tried.append(f"{public_url(url)}: {error}")
    path.unlink(missing_ok=True)
    raise FetchError(
        f"cannot fetch sha256 {pin.sha256}; tried\n    " + "\n    ".join(tried),
        label=label,
        hint=_advice(tried, label),
    )


def _advice(tried: Sequence[str], label: str) -> str:
    if any("has sha256" in line for line in tried):
        return f"the source has changed: if that is right, `hb lock {label}` pins what is there now"
    if any(line.endswith(("answers 401", "answers 403")) for line in tried):
        return "it may want a login: auth_secret names a secret for it (docs/guide/secrets.md); netrc will do, too"
    return "check the addresses and proxies, add a mirror, or build with --vendor DIR from a vendored copy"


def _from_mirror(
    client: Client, url: str, pin: Pin, path: Path, patience: Patience, headers: Mapping[str, str]
) -> None:
    part = _Part(path, pin, headers)
    distrusted = False  # a resumed file turned out wrong once: no more resuming here
    last = Transient("not tried")
    for attempt in range(patience.attempts):
        if attempt:
            patience.wait(attempt - 1, last.after)
        try:
            resumed = part.receive(client, url, resume=not distrusted)
        except Transient as error:
            if error.after > PATIENCE:
                raise Refused(f"{error}, and asks to wait {error.after:.0f} s") from error
            last = error
            continue
        found = part.sha256()
        if found == pin.sha256:
            return
        if not resumed:
            raise Refused(f"has sha256 {found}, expected {pin.sha256}")
        distrusted, last = True, Transient("a resumed transfer gave the wrong content")
        part.drop()
    raise Refused(f"{last} (asked {patience.attempts} times)")


class _Part:
    """A file on its way: what has arrived of it, and which version of the remote file that is."""

    def __init__(self, path: Path, pin: Pin, headers: Mapping[str, str]) -> None:
        self.path, self.pin, self.headers = path, pin, headers
        self.validator = ""  # a strong ETag, or Last-Modified

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.validator = ""

    def sha256(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def receive(self, client: Client, url: str, *, resume: bool) -> bool:
        """One transfer, to its end. True when it went on from an earlier one."""
        have = self.path.stat().st_size if resume and self.validator and self.path.exists() else 0
        asked = {"Range": f"bytes={have}-", "If-Range": self.validator} if have else {}
        with client.request("GET", url, {**self.headers, **asked}) as response:
            start = self._start(response, have)
            with self.path.open("r+b" if start else "wb") as file:
                file.seek(start)
                self._remember(response)
                self._fill(response, file, start)
        return start > 0

    def _start(self, response: Response, have: int) -> int:
        """Where the body begins in the file; refuses every answer that is not the file."""
        status = response.status
        if status == 206 and have:
            match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match and int(match[1]) == have and (self.pin.size is None or match[3] in ("*", str(self.pin.size))):
                return have
            self.drop()
            raise Transient(f"answers another range than the one asked for ({response.headers.get('Content-Range')})")
        if status == 416:
            self.drop()
            raise Transient("cannot continue the transfer (416)")
        if status in TRANSIENT:
            raise Transient(f"answers {status}", retry_after(response))
        if status != 200:
            raise Refused(f"answers {status}")
        length = response.headers.get("Content-Length", "")
        if self.pin.size is not None and length.isdecimal() and int(length) != self.pin.size:
            raise Refused(f"has {length} bytes, expected {self.pin.size}")
        return 0

    def _remember(self, response: Response) -> None:
        etag = response.headers.get("ETag", "")
        self.validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")

    def _fill(self, response: Response, file: BinaryIO, start: int) -> None:
        cap = self.pin.size
        written = start
        for piece in response.pieces():
            written += len(piece)
            if cap is not None and written > cap:
                raise Refused(f"sends more than the expected {cap} bytes")
            file.write(piece)
        if cap is not None and written < cap:
            raise Refused(f"has {written} bytes, expected {cap}")


def retry_after(response: Response) -> float:
    """Seconds of a Retry-After header (RFC 9110 §10.2.3), 0 without one."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
