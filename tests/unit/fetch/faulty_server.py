"""A real HTTP server whose answers are scripted, faults included."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass
class Seen:
    """One request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Reply:
    """``cut``: bytes of the body sent before the connection is closed, though all were announced."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


Script: TypeAlias = Callable[[Seen], Reply]


class Server:
    """Context manager. ``script`` answers each request; ``seen`` is what was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[Seen] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
                outer.seen.append(seen)
                reply = outer.script(seen)
                self.send_response(reply.status)
                headers = {"Content-Length": str(len(reply.body)), **reply.headers}
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
                if reply.cut is not None:
                    self.wfile.flush()
                    self.connection.close()
                    self.close_connection = True

            do_HEAD = do_GET  # noqa: N815  (the name http.server looks for)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that hung up is part of the tests

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def ranged(data: bytes, seen: Seen, headers: dict[str, str]) -> Reply:
    """The answer of a server that serves ranges as it should."""
    asked = seen.headers.get("range", "")
    if not asked or (seen.headers.get("if-range") not in (None, headers.get("ETag"), headers.get("Last-Modified"))):
        return Reply(data, 200, headers)
    start = int(asked.removeprefix("bytes=").rstrip("-"))
    return Reply(data[start:], 206, {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
