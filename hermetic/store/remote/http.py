"""Bazel's HTTP cache: ``/ac/<key>`` and ``/cas/<sha256>`` below a URL.

The content of a blob is its plain bytes, as other users of the cache expect; a server that offers zstd
may send it. Servers of this kind check nothing and know no conditions, so a result is looked up before
it is written; the request also says ``If-None-Match: *`` to those that understand it.

A zone other than ``main`` is a folder of its own, and its results have names of their own too: some
servers read only the last two parts of a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from hermetic.digest import CHUNK, Digest
from hermetic.store.remote.address import Address
from hermetic.store.remote.flow import Flow, Pace
from hermetic.store.remote.frames import copy, expand
from hermetic.store.remote.protocol import MAIN, RESULT_LIMIT, Opener, RemoteError, Sink, Traffic
from hermetic.store.remote.wire import Wire

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, Retry

WIDTH = 16
_HOPELESS = {401: "wants other credentials", 403: "denies access", 407: "is behind a proxy that wants credentials"}


class HttpRemote:
    batch = 0
    bucket = None

    def __init__(self, address: Address) -> None:
        self._address = address
        self.traffic = Traffic()
        self._flow = Flow(Pace(address.timeout))

    @property
    def name(self) -> str:
        return str(self._address)

    def get_result(self, key: Digest, zone: str) -> bytes | None:
        reply = self._ask("GET", self._ac(key, zone))
        if reply.status != 200:
            self._absent(reply)
            return None
        with _released(reply):
            return b"".join(self._wire.pieces(reply, RESULT_LIMIT))

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        found = self.get_result(key, zone)
        if found is not None:
            return found
        reply = self._ask("PUT", self._ac(key, zone), {"If-None-Match": "*"}, data, len(data))
        self._stored(reply)
        return self.get_result(key, zone) if reply.status == 412 else None

    def put_aside(self, key: Digest, zone: str, data: bytes) -> str:  # noqa: ARG002
        digest = Digest.of(data)
        self._stored(self._ask("PUT", self._cas(digest, zone), body=data, size=len(data)))
        return f"{self.name}/{self._cas(digest, zone)}"

    def get_blob(self, digest: Digest, zone: str, sink: Sink) -> bool:
        with self._flow.receiving(digest.size):
            reply = self._ask("GET", self._cas(digest, zone), {"Accept-Encoding": "zstd"})
            if reply.status != 200:
                self._absent(reply)
                return False
            with _released(reply):
                pieces = self._wire.pieces(reply, 2 * digest.size + CHUNK)
                if reply.headers.get("Content-Encoding", "") == "zstd":
                    expand(pieces, sink, digest.size)
                else:
                    copy(pieces, sink, digest.size)
        return True

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:
        raise NotImplementedError("this protocol has no batches")

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:
        raise NotImplementedError("this protocol has no batches")

    def put_blob(self, digest: Digest, zone: str, content: Opener) -> None:
        with self._flow.sending(digest.size), content() as source:
            self._stored(self._ask("PUT", self._cas(digest, zone), body=source, size=digest.size))

    def find_missing(self, digests: Iterable[Digest], zone: str) -> set[Digest]:
        def there(digest: Digest) -> bool:
            reply = self._ask("HEAD", self._cas(digest, zone))
            if reply.status != 200:
                self._absent(reply)
                return False
            self._wire.finish(reply)
            return True

        wanted = list(dict.fromkeys(digests))
        with ThreadPoolExecutor(WIDTH) as pool:
            return {digest for digest, found in zip(wanted, pool.map(there, wanted), strict=True) if not found}

    def close(self) -> None:
        if "_wire" in vars(self):
            self._wire.close()

    # --- requests ---------------------------------------------------------------------------------

    def _ac(self, key: Digest, zone: str) -> str:
        if zone == MAIN:
            return f"ac/{key.hash}"
        return f"{zone}/ac/{zoned(key, zone).hash}"

    def _cas(self, digest: Digest, zone: str) -> str:
        return f"cas/{digest.hash}" if zone == MAIN else f"{zone}/cas/{digest.hash}"

    def _ask(
        self,
        method: str,
        place: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | BinaryIO | None = None,
        size: int = 0,
    ) -> BaseHTTPResponse:
        about = {"Content-Length": str(size), "Content-Type": "application/octet-stream"} if body is not None else {}
        self.traffic.count(sent=size)
        everyone = {**self._credentials, **about, **(headers or {})}
        return self._wire.ask(method, f"{self.name}/{place}", everyone, body, size=size, retries=self._retries)

    def _absent(self, reply: BaseHTTPResponse) -> None:
        """Raise unless the server says "not there"."""
        if reply.status in (404, 410):
            self._wire.finish(reply)
            return
        raise self._refusal(reply)

    def _stored(self, reply: BaseHTTPResponse) -> None:
        if not 200 <= reply.status < 300 and reply.status != 412:
            raise self._refusal(reply)
        self._wire.finish(reply)

    def _refusal(self, reply: BaseHTTPResponse) -> RemoteError:
        self._wire.finish(reply)
        if reply.status in _HOPELESS:
            hint = "set $HB_CACHE_TOKEN, or write user and password into the URL"
            return RemoteError(f"{self.name} {_HOPELESS[reply.status]}", hint=hint, fatal=True)
        return RemoteError(f"{self.name} answered {reply.status}")

    @cached_property
    def _wire(self) -> Wire:
        names = {"ca": "ca_certs", "cert": "cert_file", "key": "key_file"} if self._address.scheme == "https" else {}
        tls = {names[one]: value for one, value in self._address.options.items() if one in names}
        return Wire(self.name, self._flow.pace, self.traffic, **tls)

    @cached_property
    def _credentials(self) -> dict[str, str]:
        import urllib3

        headers = dict(self._address.headers)
        if self._address.user:
            headers |= urllib3.make_headers(basic_auth=f"{self._address.user}:{self._address.secret}")
        elif self._address.secret:
            headers["Authorization"] = f"Bearer {self._address.secret}"
        return headers

    @cached_property
    def _retries(self) -> Retry:
        """Again after a refusal that may be over, or when there was no connection; not when an answer broke off."""
        from urllib3 import Retry

        return Retry(
            total=2,
            connect=1,
            read=0,
            redirect=False,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            raise_on_status=False,
            backoff_factor=0.2,
            respect_retry_after_header=False,
        )


@contextmanager
def _released(reply: BaseHTTPResponse) -> Iterator[None]:
    """A connection whose answer was not read to its end is of no more use."""
    try:
        yield
    except BaseException:
        reply.close()
        raise
    reply.release_conn()


def zoned(key: Digest, zone: str) -> Digest:
    """The name of a key's result in a zone, where only names keep zones apart."""
    if zone == MAIN:
        return key
    return Digest(hashlib.sha256(f"hb-zone\0{zone}\0{key.hash}".encode()).hexdigest(), key.size)
