"""The object store that a compile cache inside a sandbox talks to: as much of S3 as it needs, and no more.

Guarantees: GET, HEAD and PUT of objects with a compile cache's names in one bucket, and nothing else; no
name reaches the disk that is not 64 hexadecimal digits. What is put is held apart, in ``held``, for whoever
decides about it. However much is asked at the same time, however long, slow or wrong: a request has limits
(``LARGEST``, ``MOST``, ``CONNECTIONS``, ``IDLE``), and a client that breaks them loses its connection.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO

from hermetic.sandbox.loopback import ADDRESS, listen_inside
from hermetic.store.compile.bucket import LARGEST
from hermetic.store.compile.objects import Objects

BUCKET = "cache"
URL = f"http://{ADDRESS[0]}/{BUCKET}"
MOST = 8 << 30  # bytes that one action may put
CONNECTIONS = 64  # at the same time
IDLE = 60.0  # seconds without a byte
PIECE = 1 << 18
STEP = 0.05  # seconds between two looks at what still runs
CHECK = f"/{BUCKET}/.sccache_check"  # what sccache asks for first, and writes to see whether it may
WORD = b"Hello, World!"
_OBJECT = re.compile(rf"/{BUCKET}/([0-9a-f])/([0-9a-f])/([0-9a-f])/(\1\2\3[0-9a-f]{{61}})", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,12}", re.ASCII)

Find = Callable[[str], tuple[BinaryIO, int] | None]


@dataclass
class Endpoint:
    """``find``: a published object's stream and size. Use as a context; ``open`` starts it."""

    find: Find
    held: Objects
    served: int = 0  # objects handed in
    written: int = 0
    room: int = MOST
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _socket: socket.socket | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _threads: set[threading.Thread] = field(default_factory=set)
    _free: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(CONNECTIONS))

    def open(self, pid: int) -> None:
        """Listen in the network of a sandbox's first process. Raises OSError."""
        self.serve(listen_inside(pid))

    def serve(self, listening: socket.socket) -> None:
        self._socket = listening
        self._start(self._accept, listening)

    def close(self) -> None:
        """No request is being answered any more when this returns."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        while threads := self._hang_up():
            threads[0].join(STEP)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- connections ------------------------------------------------------------------------------

    def _start(self, work: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(argument,), daemon=True, name="hb-compile-endpoint")
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            self._free.acquire()
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            self._start(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError, ValueError):
                _Requests(self, connection)
        finally:
            with self._lock:
                self._open.discard(connection)
                self._threads.discard(threading.current_thread())
            connection.close()
            self._free.release()

    def _hang_up(self) -> list[threading.Thread]:
        """End every connection; returns the threads that still run."""
        with self._lock:
            left, threads = list(self._open), [one for one in self._threads if one.is_alive()]
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return threads

    # --- objects ----------------------------------------------------------------------------------

    def look(self, key: str) -> tuple[BinaryIO, int] | None:
        return self.held.open(key) or self.find(key)

    def take(self, size: int) -> bool:
        """Whether ``size`` bytes more may be put."""
        with self._lock:
            if size > min(self.room, LARGEST):
                return False
            self.room -= size
            return True

    def count(self, *, served: int = 0, written: int = 0) -> None:
        with self._lock:
            self.served += served
            self.written += written


class _Requests(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "hb", ""
    timeout = IDLE

    def __init__(self, endpoint: Endpoint, connection: socket.socket) -> None:
        self.endpoint = endpoint
        super().__init__(connection, ADDRESS, None)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        """Every other method is refused like every other path."""
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def do_GET(self) -> None:
        self._give(body=True)

    def do_HEAD(self) -> None:
        self._give(body=False)

    def do_PUT(self) -> None:
        size = self.headers.get("Content-Length", "")
        odd = self.headers.get("Transfer-Encoding") or "aws-chunked" in self.headers.get("Content-Encoding", "")
        streamed = self.headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
        key = self._key()
        if (key is None and self.path != CHECK) or odd or streamed or not _LENGTH.fullmatch(size):
            self._refuse()
        elif key is None:
            self._put_check(int(size))
        elif self.endpoint.take(int(size)):
            self._put(key, int(size))
        else:
            self._end(507)

    # --- answers ----------------------------------------------------------------------------------

    def _give(self, *, body: bool) -> None:
        if self.headers.get("Content-Length", "0") != "0" or self.headers.get("Transfer-Encoding"):
            self._refuse()
            return
        key = self._key()
        if key is None:
            self._refuse() if self.path != CHECK else self._end(200, WORD, body=body)
            return
        found = self.endpoint.look(key)
        if found is None:
            self._end(404, body=body)
            return
        with found[0] as stream:
            self._head(200, found[1])
            if body:
                self.endpoint.count(served=1)
            if body and found[1]:
                self.connection.sendfile(stream, stream.tell(), found[1])

    def _put(self, key: str, size: int) -> None:
        with self.endpoint.held.coming() as incoming:
            while size:
                data = self.rfile.read(min(size, PIECE))
                if not data:
                    self.close_connection = True
                    return
                incoming.write(data)
                size -= len(data)
            incoming.keep(key)
        self.endpoint.count(written=1)
        self._end(200)

    def _put_check(self, size: int) -> None:
        if size > PIECE:
            self._refuse()
        else:
            self.rfile.read(size)
            self._end(200)

    def _key(self) -> str | None:
        found = _OBJECT.fullmatch(self.path)
        return found[4] if found else None

    def _refuse(self) -> None:
        """What comes after it on this connection is not looked at: it may be a body."""
        self.close_connection = True
        self._end(403)

    def _end(self, code: int, data: bytes = b"", *, body: bool = True) -> None:
        if code == 507:
            self.close_connection = True
        self._head(code, len(data))
        if body:
            self.wfile.write(data)

    def _head(self, code: int, size: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What is no request at all."""
        self.request_version, self.close_connection = self.protocol_version, True
        self._end(int(code))

    def log_message(self, *_: object) -> None:
        """What a build asks is no news."""
