"""Small web servers in the process of a test: from a folder, from a method, and git's own behind the standard library's."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, CGIHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Reply = tuple[int, str, bytes]  # status, content type, body
NOT_FOUND: Reply = (404, "text/plain", b"")


@contextmanager
def served(handler: Any) -> Iterator[str]:
    """The URL of a server on a port of its own while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def folder_served(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """``asked``: gets the path of every request."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            if asked is not None:
                asked.append(self.path)

    with served(partial(Handler, directory=str(folder))) as url:
        yield url


class Answering:
    """A server whose replies are a method's. ``asked``: paths."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                answering.asked.append(self.path)
                status, kind, body = answering.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._served = served(Handler)
        self.url = self._served.__enter__()

    def answer(self, path: str) -> Reply:
        raise NotImplementedError

    def close(self) -> None:
        self._served.__exit__(None, None, None)


@contextmanager
def git_served(folder: Path, login: str = "", sent: list[str] | None = None) -> Iterator[str]:
    """The repositories below ``folder`` by git's own server program. Changes the current folder. ``login``: the only
    Authorization that is let in, "" for everybody; ``sent``: gets those that came."""
    execs = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()
    backend = Path(execs) / "git-http-backend"
    if not backend.exists():
        pytest.skip("git-http-backend is not installed")
    script = folder / "cgi-bin" / "git"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\nexport GIT_PROJECT_ROOT={folder} GIT_HTTP_EXPORT_ALL=1\nexec {backend}\n")
    script.chmod(0o755)

    class Handler(CGIHTTPRequestHandler):
        have_fork = False  # a child by subprocess, which is safe in a process with threads

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            came = self.headers.get("Authorization", "")
            if sent is not None:
                sent.append(came)
            if login and came != login:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return False
            del self.headers["Authorization"]  # the CGI program of the standard library cannot take it
            return True

        def log_message(self, *_: object) -> None:
            pass

    before = Path.cwd()
    os.chdir(folder)
    try:
        with served(partial(Handler, directory=str(folder))) as url:
            yield f"{url}/cgi-bin/git"
    finally:
        os.chdir(before)
