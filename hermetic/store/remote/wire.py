"""HTTP requests to one remote: connections that are kept, time-outs that fit what a request carries.

Guarantees: a body is sent in small pieces, each of which may take as long as a connection; the answer is then waited
for as long as ``Pace`` says for a body of that size. No redirect is followed, nothing is decoded. Every failure is a
RemoteError; one that hit the connection, and not because of the time, is ``Lost``, and may be tried again. Thread-safe.

Source: urllib3's time-outs are those of single calls of the socket, and a whole ``sendall`` is one call (Python's
documentation of ``socket.sendall``); tcp(7), TCP_NOTSENT_LOWAT.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from hermetic.store.remote.flow import Clock, Pace
from hermetic.store.remote.protocol import RemoteError, Traffic

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, Retry

CONNECTIONS = 64  # that are kept
SENT = 128 << 10  # bytes handed to the socket at once
SHORT = 64 << 10  # bytes of an answer that is only looked at: why a request was refused
FIRST, PIECE = 256, 256 << 10  # bytes read at once


class Body(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Lost(RemoteError):
    """There is no connection, or it broke before an answer began."""


class Wire:
    def __init__(self, name: str, pace: Pace, traffic: Traffic, *, proxy: str | None = None, **tls: Any) -> None:
        """``tls``: urllib3's options for certificates."""
        import urllib3

        self._name = name
        self._pace = pace
        self._traffic = traffic
        options = {"maxsize": CONNECTIONS, "blocksize": SENT, "socket_options": _socket_options(), **tls}
        self._pool = urllib3.PoolManager(**options) if proxy is None else _through(proxy, options)

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str | bytes],
        body: bytes | BinaryIO | None = None,
        *,
        size: int = 0,
        retries: Retry | None = None,
    ) -> BaseHTTPResponse:
        """The answer, its body unread: whoever asks releases the connection. ``size``: bytes of a body that is a
        stream, or what the request weighs. ``headers`` say how long a body is."""
        import urllib3
        from urllib3.exceptions import HTTPError

        stream: BinaryIO | None = io.BytesIO(body) if isinstance(body, bytes) else body
        timeout = urllib3.Timeout(connect=self._pace.connect, read=self._pace.reply(size or _length(body)))
        try:
            reply: BaseHTTPResponse = self._pool.urlopen(
                method,
                url,
                redirect=False,
                body=stream,
                headers=headers,
                timeout=timeout,
                retries=False if retries is None else retries,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as error:
            kind = RemoteError if _too_late(error) else Lost
            raise kind(f"{self._name}: {brief(error)}") from None
        return reply

    def pieces(self, body: Body, limit: int) -> Iterator[bytes]:
        """An answer's body as it comes, ``limit`` bytes at most. Pieces grow: a slow answer shows early, a quick one
        is read in large ones."""
        clock = Clock(self._name, self._pace)
        piece, left = FIRST, limit
        while True:
            began = time.monotonic()
            try:
                data = body.read(piece)
            except Exception as error:  # urllib3's, and botocore's for a body of its, have no common base
                raise RemoteError(f"{self._name}: a reply broke off: {brief(error)}") from None
            if not data:
                return
            clock.came(len(data), began)
            self._traffic.count(received=len(data), requests=0)
            left -= len(data)
            if left < 0:
                raise RemoteError(f"{self._name}: a reply is too long")
            yield data
            piece = min(2 * piece, PIECE)

    def finish(self, reply: BaseHTTPResponse) -> bytes:
        """What is left of a short answer; its connection is free for others then."""
        try:
            return b"".join(self.pieces(reply, SHORT))
        except RemoteError:
            reply.close()
            return b""

    def close(self) -> None:
        self._pool.clear()


def brief(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return f"{type(reason or error).__name__}: {reason or error}"


def _too_late(error: BaseException) -> bool:
    """Whether it took too long to connect, to send or to be answered."""
    from urllib3.exceptions import TimeoutError as Late

    return isinstance(error, Late) or any(isinstance(one, TimeoutError) for one in error.args)


def _length(body: bytes | BinaryIO | None) -> int:
    return len(body) if isinstance(body, bytes) else 0


def _socket_options() -> list[tuple[int, int, int]]:
    """Data waits here, where it shows whether it moves, and not in a buffer of the kernel's of some megabytes."""
    found = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        found.append((socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, SENT))
    return found


def _through(proxy: str, options: Mapping[str, Any]) -> Any:
    import urllib3
    from urllib3.util import parse_url

    found = parse_url(proxy)
    headers = urllib3.make_headers(proxy_basic_auth=found.auth) if found.auth else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
