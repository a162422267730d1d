"""The one way out of a fetch worker: hb's own HTTP proxy on a Unix socket.

Guarantees: a worker has no network of its own; every connection it makes goes through here, to a
host and port that is logged, and only as HTTP (CONNECT, or a request in absolute form). Names are
resolved here and the user's own proxies are used from here, so that a registry on this machine's
127.0.0.1 still works. The socket lies in a folder only this user may enter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast
from urllib.parse import SplitResult, urlsplit

from hermetic.fetch.transport import Refused, port_of, proxy_authorization, proxy_for, public_url

HEAD_LIMIT = 64 << 10
STEP = 256 << 10
CONNECT_TIMEOUT = 30.0  # seconds
IDLE_TIMEOUT = 600.0
HOP_BY_HOP = {"expect", "connection", "proxy-connection", "proxy-authorization", "keep-alive", "te", "upgrade"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing a worker asked the proxy for."""

    method: str
    target: str  # host:port of a CONNECT, else the URL without credentials
    outcome: str  # "ok" or why not


@dataclass(slots=True)
class _Head:
    """The first line and the header fields of a message; ``fields`` keep their order."""

    line: str
    fields: list[tuple[str, str]]

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key.lower() == name), "")

    def encode(self, extra: Mapping[str, str]) -> bytes:
        kept = [(key, value) for key, value in self.fields if key.lower() not in HOP_BY_HOP]
        lines = [self.line, *(f"{key}: {value}" for key, value in [*kept, *extra.items()])]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(slots=True)
class _Upstream:
    """An open connection for plain HTTP, kept for the next request to the same place."""

    place: tuple[str, int]
    sock: socket.socket
    reader: BinaryIO

    def close(self) -> None:
        self.reader.close()
        self.sock.close()


@dataclass(slots=True)
class Proxy:
    """Context manager. ``socket_path`` is where it listens; ``log`` is what was asked, in order."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    progress: Callable[[Asked], None] | None = None
    log: list[Asked] = field(default_factory=list)
    folder: Path = Path()
    _server: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[socket.socket] = field(default_factory=set)

    @property
    def socket_path(self) -> Path:
        return self.folder / "proxy"

    def __enter__(self) -> Proxy:
        # A short path of its own: a Unix socket's may have 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="hb-"))
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self.socket_path))
        self._server.listen(128)
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._open.add(client)
        client.settimeout(IDLE_TIMEOUT)
        try:
            with client, client.makefile("rb") as reader:
                self._converse(client, reader)
        except (OSError, ValueError, EOFError):
            pass  # the worker, or the server, went away: nobody is left to tell
        finally:
            with self._lock:
                self._open.discard(client)

    def _converse(self, client: socket.socket, reader: BinaryIO) -> None:
        """Requests of one connection, one after the other."""
        upstream: _Upstream | None = None
        try:
            while (head := read_head(reader)) is not None:
                method, _, rest = head.line.partition(" ")
                target = rest.rpartition(" ")[0]
                try:
                    if method == "CONNECT":
                        self._tunnel(client, reader, target)
                        return
                    upstream = self._forward(client, reader, head, method, target, upstream)
                except (Refused, OSError) as error:
                    self._note(method, public_url(target), str(error))
                    client.sendall(_answer(502, str(error)))
                    return
                if upstream is None:
                    return
        finally:
            if upstream:
                upstream.close()

    def _note(self, method: str, target: str, outcome: str) -> None:
        asked = Asked(method, target, outcome)
        with self._lock:
            self.log.append(asked)
        if self.progress:
            self.progress(asked)

    def _tunnel(self, client: socket.socket, reader: BinaryIO, target: str) -> None:
        host, _, digits = target.rpartition(":")
        host = host.strip("[]")
        if not host or not digits.isdecimal() or not 0 < int(digits) < 65536:
            raise Refused(f"not a host and port: {target!r}")
        remote = self._dial("https", host, int(digits))
        with remote:
            self._note("CONNECT", target, "ok")
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            pump(client, remote, reader)

    def _dial(self, scheme: str, host: str, port: int) -> socket.socket:
        """A connection to a host, through the user's own proxy if the environment names one."""
        proxy = proxy_for(scheme, host, port, self.environ)
        if proxy is None:
            return self._connect(host, port)
        sock = self._connect(str(proxy.hostname), proxy.port or 80)
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = _Head(f"CONNECT {place} HTTP/1.1", [("Host", place)])
        sock.sendall(head.encode({}).removesuffix(b"\r\n") + _lines(proxy_authorization(proxy)) + b"\r\n")
        with sock.makefile("rb", buffering=0) as raw:
            answer = read_head(cast(BinaryIO, raw))
        if answer is None or answer.line.split(" ")[1:2] != ["200"]:
            sock.close()
            raise Refused(f"the proxy {proxy.hostname} answers {answer.line if answer else 'nothing'!r}")
        return sock

    def _connect(self, host: str, port: int) -> socket.socket:
        sock = socket.create_connection((host, port), CONNECT_TIMEOUT)
        sock.settimeout(IDLE_TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _forward(
        self,
        client: socket.socket,
        reader: BinaryIO,
        head: _Head,
        method: str,
        target: str,
        upstream: _Upstream | None,
    ) -> _Upstream | None:
        """Pass one plain request on and its answer back. The upstream connection when it may be used
        again, else None."""
        url = urlsplit(target)
        if url.scheme != "http" or not url.hostname:
            raise Refused(f"only absolute http URLs and CONNECT are served here, not {target[:80]!r}")
        upstream = self._upstream(url, upstream)
        self._note(method, public_url(target), "ok")
        upstream.sock.sendall(self._rewritten(head, method, url))
        if head.get("expect").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        _copy_body(reader, head, upstream.sock.sendall, request=True)
        while True:
            answer = read_head(upstream.reader)
            if answer is None:
                raise Refused(f"{url.hostname} closed the connection without an answer")
            status = int(answer.line.split(" ")[1])
            bodiless = method == "HEAD" or status in (204, 304) or status < 200
            keep = (
                answer.line.startswith("HTTP/1.1")
                and "close" not in answer.get("connection").lower()
                and (bodiless or answer.get("content-length") != "" or _chunked(answer))
            )
            client.sendall(answer.encode({"Connection": "keep-alive" if keep else "close"}))
            if not bodiless:
                _copy_body(upstream.reader, answer, client.sendall, request=False)
            if status >= 200:
                break
        if keep and "close" not in (head.get("connection") + head.get("proxy-connection")).lower():
            return upstream
        upstream.close()
        return None

    def _upstream(self, url: SplitResult, kept: _Upstream | None) -> _Upstream:
        place = (str(url.hostname), port_of(url))
        if kept and kept.place == place:
            return kept
        if kept:
            kept.close()
        proxy = proxy_for("http", *place, self.environ)
        sock = self._connect(str(proxy.hostname), proxy.port or 80) if proxy else self._connect(*place)
        return _Upstream(place, sock, sock.makefile("rb"))

    def _rewritten(self, head: _Head, method: str, url: SplitResult) -> bytes:
        proxy = proxy_for("http", str(url.hostname), port_of(url), self.environ)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        host = url.netloc.rpartition("@")[2]
        line = f"{method} {f'http://{host}{path}' if proxy else path} HTTP/1.1"
        extra = {"Connection": "keep-alive", **(proxy_authorization(proxy) if proxy else {})}
        return _Head(line, head.fields).encode(extra)


def _lines(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{key}: {value}\r\n" for key, value in fields.items()).encode("latin-1")


def _answer(status: int, why: str) -> bytes:
    body = f"hb's proxy: {why}\n".encode()
    head = f"HTTP/1.1 {status} Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def read_head(reader: BinaryIO) -> _Head | None:
    """The head of a message; None when the peer closed the connection before one."""
    size = 0
    lines: list[str] = []
    while True:
        line = reader.readline(HEAD_LIMIT)
        size += len(line)
        if not line and not lines:
            return None
        if not line.endswith(b"\n") or size > HEAD_LIMIT:
            raise ValueError("a message head that ends early or is too long")
        text = line.decode("latin-1").rstrip("\r\n")
        if not text and lines:
            break
        if text:
            lines.append(text)
    fields = []
    for text in lines[1:]:
        name, colon, value = text.partition(":")
        if not colon or name != name.strip():
            raise ValueError("a malformed header field")
        fields.append((name, value.strip()))
    return _Head(lines[0], fields)


def _chunked(head: _Head) -> bool:
    return head.get("transfer-encoding").lower().rpartition(",")[2].strip() == "chunked"


def _copy_body(reader: BinaryIO, head: _Head, send: Callable[[bytes], None], *, request: bool) -> None:
    """Copy a body as its head frames it (RFC 9112 §6): chunked, by length, or to the end."""
    if _chunked(head):
        while True:
            line = reader.readline(HEAD_LIMIT)
            size = int(line.split(b";")[0].strip(), 16)
            send(line)
            if size == 0:
                break
            _copy(reader, size + 2, send)
        while (line := reader.readline(HEAD_LIMIT)) not in (b"\r\n", b"\n", b""):
            send(line)
        send(b"\r\n")
    elif (length := head.get("content-length")).isdecimal():
        _copy(reader, int(length), send)
    elif not request:
        while data := reader.read(STEP):
            send(data)


def _copy(reader: BinaryIO, size: int, send: Callable[[bytes], None]) -> None:
    while size:
        data = reader.read(min(size, STEP))
        if not data:
            raise EOFError("a body that ends early")
        send(data)
        size -= len(data)


def pump(left: socket.socket, right: socket.socket, pending: BinaryIO | None = None) -> None:
    """Copy both ways until both sides are done. ``pending`` may hold bytes already read from left."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(STEP):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, sink):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    if pending is not None:
        left.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if early := pending.read1(STEP):  # type: ignore[attr-defined]
                right.sendall(early)
        left.settimeout(IDLE_TIMEOUT)
    back = threading.Thread(target=copy, args=(right, left), daemon=True)
    back.start()
    copy(left, right)
    back.join()
