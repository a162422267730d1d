"""Bazel's HTTP cache: ``/ac/<key>`` and ``/cas/<sha256>`` below a URL.

The content of a blob is its plain bytes, as other users of the cache expect; a server that offers zstd
may send it. Servers of this kind check nothing and know no conditions, so a result is looked up before
it is written; the request also says ``If-None-Match: *`` to those that understand it.

A zone other than ``main`` is a folder of its own, and its results have names of their own too: some
servers read only the last two parts of a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from hermetic.digest import CHUNK, Digest
from hermetic.store.remote.address import Address
from hermetic.store.remote.frames import Limited, expand
from hermetic.store.remote.protocol import MAIN, RESULT_LIMIT, Deadline, Opener, RemoteError, Sink, Traffic

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

WIDTH = 16
_HOPELESS = {401: "wants other credentials", 403: "denies access", 407: "is behind a proxy that wants credentials"}


class HttpRemote:
    batch = 0
    bucket = None

    def __init__(self, address: Address) -> None:
        self._address = address
        self.traffic = Traffic()
        self._made: Any = None

    @property
    def name(self) -> str:
        return str(self._address)

    def get_result(self, key: Digest, zone: str) -> bytes | None:
        reply = self._ask("GET", self._ac(key, zone), preload_content=False)
        try:
            if reply.status != 200:
                self._absent(reply)
                return None
            return b"".join(self._pieces(reply, RESULT_LIMIT))
        finally:
            reply.release_conn()

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        found = self.get_result(key, zone)
        if found is not None:
            return found
        reply = self._ask("PUT", self._ac(key, zone), body=data, headers={"If-None-Match": "*"})
        if reply.status == 412:
            return self.get_result(key, zone)
        self._stored(reply)
        return None

    def put_aside(self, key: Digest, zone: str, data: bytes) -> str:  # noqa: ARG002
        digest = Digest.of(data)
        self._stored(self._ask("PUT", self._cas(digest, zone), body=data))
        return f"{self.name}/{self._cas(digest, zone)}"

    def get_blob(self, digest: Digest, zone: str, sink: Sink) -> bool:
        headers = {"Accept-Encoding": "zstd"}
        reply = self._ask("GET", self._cas(digest, zone), headers=headers, preload_content=False)
        try:
            if reply.status != 200:
                self._absent(reply)
                return False
            if reply.headers.get("Content-Encoding", "") == "zstd":
                expand(self._pieces(reply, 2 * digest.size + CHUNK), sink, digest.size)
            else:
                limited = Limited(sink, digest.size)
                for data in self._pieces(reply, 2 * digest.size + CHUNK):
                    limited.write(data)
            return True
        finally:
            reply.release_conn()

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:
        raise NotImplementedError("this protocol has no batches")

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:
        raise NotImplementedError("this protocol has no batches")

    def put_blob(self, digest: Digest, zone: str, content: Opener) -> None:
        with content() as source:
            headers = {"Content-Length": str(digest.size), "Content-Type": "application/octet-stream"}
            self._stored(self._ask("PUT", self._cas(digest, zone), body=source, headers=headers, sent=digest.size))

    def find_missing(self, digests: Iterable[Digest], zone: str) -> set[Digest]:
        def there(digest: Digest) -> bool:
            reply = self._ask("HEAD", self._cas(digest, zone))
            if reply.status != 200:
                self._absent(reply)
            return reply.status == 200

        wanted = list(dict.fromkeys(digests))
        with ThreadPoolExecutor(WIDTH) as pool:
            return {digest for digest, found in zip(wanted, pool.map(there, wanted), strict=True) if not found}

    def close(self) -> None:
        if self._made is not None:
            self._made.clear()

    # --- requests ---------------------------------------------------------------------------------

    def _ac(self, key: Digest, zone: str) -> str:
        if zone == MAIN:
            return f"ac/{key.hash}"
        return f"{zone}/ac/{zoned(key, zone).hash}"

    def _cas(self, digest: Digest, zone: str) -> str:
        return f"cas/{digest.hash}" if zone == MAIN else f"{zone}/cas/{digest.hash}"

    def _ask(self, method: str, place: str, *, sent: int = 0, **more: Any) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError

        pool = self._pool()
        headers = {**pool.headers, **more.pop("headers", {})}
        body = more.get("body")
        self.traffic.count(sent=sent or (len(body) if isinstance(body, bytes) else 0))
        try:
            reply: BaseHTTPResponse = pool.request(
                method, f"{self.name}/{place}", headers=headers, redirect=False, decode_content=False, **more
            )
        except (HTTPError, OSError) as error:
            raise RemoteError(f"{self.name}: {_brief(error)}") from None
        return reply

    def _pieces(self, reply: BaseHTTPResponse, limit: int) -> Iterator[bytes]:
        """A reply's body as it comes, ``limit`` bytes at most."""
        from urllib3.exceptions import HTTPError

        length = reply.headers.get("Content-Length", "")
        expected = min(int(length), limit) if length.isdecimal() else limit
        deadline = Deadline(self.name, expected, 2 * self._address.timeout)
        got = 0
        while True:
            try:
                data = reply.read1(CHUNK)
            except (HTTPError, OSError) as error:
                raise RemoteError(f"{self.name}: a reply broke off: {_brief(error)}") from None
            if not data:
                return
            got += len(data)
            self.traffic.count(received=len(data), requests=0)
            deadline.check()
            if got > limit:
                raise RemoteError(f"{self.name}: a reply is too long")
            yield data

    def _absent(self, reply: BaseHTTPResponse) -> None:
        """Raise unless the server says "not there"."""
        if reply.status in (404, 410):
            return
        raise self._refusal(reply)

    def _stored(self, reply: BaseHTTPResponse) -> None:
        if not 200 <= reply.status < 300 and reply.status != 412:
            raise self._refusal(reply)

    def _refusal(self, reply: BaseHTTPResponse) -> RemoteError:
        if reply.status in _HOPELESS:
            hint = "set $HB_CACHE_TOKEN, or write user and password into the URL"
            return RemoteError(f"{self.name} {_HOPELESS[reply.status]}", hint=hint, fatal=True)
        return RemoteError(f"{self.name} answered {reply.status}")

    def _pool(self) -> Any:
        if self._made is None:
            self._made = _pool(self._address)
        return self._made


def zoned(key: Digest, zone: str) -> Digest:
    """The name of a key's result in a zone, where only names keep zones apart."""
    if zone == MAIN:
        return key
    return Digest(hashlib.sha256(f"hb-zone\0{zone}\0{key.hash}".encode()).hexdigest(), key.size)


def _pool(address: Address) -> Any:
    import urllib3

    headers = dict(address.headers)
    if address.user:
        headers |= urllib3.make_headers(basic_auth=f"{address.user}:{address.secret}")
    elif address.secret:
        headers["Authorization"] = f"Bearer {address.secret}"
    options: dict[str, Any] = {}
    if address.scheme == "https":
        names = {"ca": "ca_certs", "cert": "cert_file", "key": "key_file"}
        options = {names[one]: address.options[one] for one in names if one in address.options}
    return urllib3.PoolManager(
        maxsize=64,
        headers=headers,
        timeout=urllib3.Timeout(connect=min(address.timeout, 3), read=address.timeout),
        retries=urllib3.Retry(
            total=2,
            connect=1,
            read=0,
            redirect=False,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            raise_on_status=False,
            backoff_factor=0.2,
            respect_retry_after_header=False,
        ),
        **options,
    )


def _brief(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return f"{type(reason or error).__name__}: {reason or error}"
