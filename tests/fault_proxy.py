"""A server between a client and a real server that breaks what passes, as told. Plain HTTP, one request per
connection; and ``TcpProxy`` for what is no HTTP."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Broken = tuple[int, dict[str, str], bytes]
Fault = Callable[[BaseHTTPRequestHandler, Broken], Broken | None]  # None: the connection is dropped


def _xml(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>x</Message></Error>".encode()


def status(code: int, s3_code: str = "") -> Fault:
    body = _xml(s3_code) if s3_code else b"no"
    return lambda handler, reply: (code, {"Content-Type": "application/xml"}, body)


def body(change: Callable[[bytes], bytes]) -> Fault:
    """The body is another one, its length is right."""
    return lambda handler, reply: (reply[0], reply[1], change(reply[2])) if reply[0] < 300 else reply


def cut(handler: BaseHTTPRequestHandler, reply: Broken) -> None:
    """The connection breaks in the middle of the body."""
    _head(handler, reply)
    handler.wfile.write(reply[2][: len(reply[2]) // 2])


def drip(handler: BaseHTTPRequestHandler, reply: Broken) -> None:
    """About a kilobyte a second."""
    _head(handler, reply)
    with suppress(OSError):
        for number in range(len(reply[2])):
            handler.wfile.write(reply[2][number : number + 1])
            time.sleep(0.001)


def hang(handler: BaseHTTPRequestHandler, reply: Broken) -> None:
    """No answer at all."""
    with suppress(OSError):
        handler.connection.settimeout(20)
        handler.connection.recv(1)


def drop(handler: BaseHTTPRequestHandler, reply: Broken) -> None:
    """Nothing, and the connection is closed."""


def garbage(handler: BaseHTTPRequestHandler, reply: Broken) -> None:
    handler.wfile.write(b"\x00\x01SSH-2.0-this is not what you wanted\r\n\r\n")


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :] if data else b"x"


FAULTS: dict[str, Fault] = {
    "cut": cut,  # type: ignore[dict-item]
    "drip": drip,  # type: ignore[dict-item]
    "hang": hang,  # type: ignore[dict-item]
    "drop": drop,  # type: ignore[dict-item]
    "garbage": garbage,  # type: ignore[dict-item]
    "flip": body(flip),
    "short": body(lambda data: data[: len(data) // 2]),
    "empty": body(lambda data: b""),
    "longer": body(lambda data: data + b"x" * 1000),
    "other": body(lambda data: b"something else"),
    "portal": body(lambda data: b"<html>log in to the network</html>"),
    "redirect": lambda handler, reply: (302, {"Location": "http://127.0.0.1:9/elsewhere"}, b""),
    "400": status(400),
    "401": status(401),
    "403": status(403, "AccessDenied"),
    "404": status(404, "NoSuchKey"),
    "409": status(409, "ConditionalRequestConflict"),
    "412": status(412, "PreconditionFailed"),
    "429": status(429, "SlowDown"),
    "500": status(500, "InternalError"),
    "503": status(503, "SlowDown"),
    "expired": status(403, "ExpiredToken"),
    "skewed": status(403, "RequestTimeTooSkewed"),
    "no-bucket": status(404, "NoSuchBucket"),
    "204": status(204),
}


def _head(handler: BaseHTTPRequestHandler, reply: Broken) -> None:
    handler.send_response(reply[0])
    handler.send_header("Content-Length", str(len(reply[2])))
    for name in ("ETag", "Content-Range"):
        if name in reply[1]:
            handler.send_header(name, reply[1][name])
    handler.end_headers()


@dataclass
class FaultProxy:
    """``fault`` breaks replies to requests whose "METHOD path" matches ``where``, ``times`` of them. ``gate``: names the
    error of S3 with which a request is refused before the server sees it, or ""."""

    upstream: str
    url: str = ""
    fault: str = ""
    where: str = ""
    times: int = 1 << 30
    seen: list[str] = field(default_factory=list)
    gate: Callable[[BaseHTTPRequestHandler], str] = field(default=lambda handler: "")

    def broken(self, request: str) -> Fault | None:
        self.seen.append(request)
        if not self.fault or self.times <= 0 or not re.search(self.where, request):
            return None
        self.times -= 1
        return FAULTS[self.fault]


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A proxy in front of http://host:port."""
    proxy = FaultProxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None: ...

        def forward(self) -> None:
            self.close_connection = True
            length = int(self.headers.get("Content-Length", 0))
            data = self.rfile.read(length)
            fault = proxy.broken(f"{self.command} {self.path}")
            if refusal := proxy.gate(self):
                _head(self, (403, {}, _xml(refusal)))
                self.wfile.write(_xml(refusal))
                return
            connection = http.client.HTTPConnection(upstream.removeprefix("http://"), timeout=30)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")
            }
            connection.request(self.command, self.path, data, headers)
            answer = connection.getresponse()
            reply: Broken | None = (answer.status, dict(answer.getheaders()), answer.read())
            connection.close()
            if fault is not None:
                assert reply is not None
                reply = fault(self, reply)
            if reply is None:
                return
            self.send_response(reply[0])
            for name, value in reply[1].items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            size = answer.headers["Content-Length"] if self.command == "HEAD" and fault is None else len(reply[2])
            self.send_header("Content-Length", str(size or 0))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply[2])

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class TcpProxy:
    """Passes bytes; ``limit``: how many come back before the connection breaks, None for all."""

    port: int = 0
    limit: int | None = None
    mute: bool = False  # accepts, and never says anything
    breath: int | None = None  # bytes, in both directions, after which it is mute
    line: Line | None = None  # what all connections share


class Line:
    """A line of so many bytes a second in each direction, shared by all who use it, and with little on the way: who
    sends more waits."""

    BUFFER = 64 << 10  # bytes

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = {True: 0.0, False: 0.0}  # when the next byte can go

    def wait(self, size: int, upwards: bool) -> None:
        with self._lock:
            at = max(self._free[upwards], time.monotonic())
            self._free[upwards] = at + size / self._rate
        time.sleep(max(0.0, at - time.monotonic()))


@contextmanager
def tcp_proxy(upstream: str, line: Line | None = None) -> Iterator[TcpProxy]:
    host, _, port = upstream.partition(":")
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    if line is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, line.BUFFER)
    proxy = TcpProxy(listener.getsockname()[1], line=line)
    open_sockets: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket, limited: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                if proxy.breath is not None:
                    proxy.breath -= len(data)
                    proxy.mute |= proxy.breath < 0
                if proxy.mute:
                    continue
                if proxy.line is not None:
                    proxy.line.wait(len(data), upwards=not limited)
                if limited and proxy.limit is not None and passed + len(data) > proxy.limit:
                    sink.sendall(data[: max(proxy.limit - passed, 0)])
                    break
                sink.sendall(data)
                passed += len(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
                open_sockets.extend((client, server))
                for arguments in ((client, server, False), (server, client, True)):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for one in open_sockets:
            one.close()
