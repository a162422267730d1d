"""The proxy that workers go through, spoken to over its Unix socket."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pytest

from hermetic.fetch.net import Proxy, read_head


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(environ={}) as running:
        yield running


class Talk:
    """A connection to the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(proxy.socket_path))
        self.reader = cast(BinaryIO, self.sock.makefile("rb"))

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self.sock.close()

    def send(self, text: str) -> None:
        self.sock.sendall(text.replace("\n", "\r\n").encode("latin-1"))

    def answer(self) -> tuple[str, bytes]:
        """Status line and body (by Content-Length)."""
        head = read_head(self.reader)
        assert head is not None
        return head.line, self.reader.read(int(head.get("content-length") or 0))


def test_only_this_user_may_connect(proxy: Proxy) -> None:
    assert stat.S_IMODE(proxy.folder.stat().st_mode) == 0o700


def test_the_folder_is_gone_afterwards() -> None:
    with Proxy(environ={}) as proxy:
        folder = proxy.folder
    assert not folder.exists()


def test_many_requests_on_one_connection_to_several_servers(web: Any, proxy: Proxy) -> None:
    def echo(seen: Any) -> Any:
        return web.Reply(f"{seen.path} {seen.headers['host']}".encode())

    with web.Server(echo) as one, web.Server(echo) as two, Talk(proxy) as talk:
        for server, path in [(one, "/a"), (one, "/b?c=d"), (two, "/e"), (one, "/f")]:
            talk.send(f"GET {server.url}{path} HTTP/1.1\nHost: wrong.example.org\nProxy-Connection: keep-alive\n\n")
            line, body = talk.answer()
            assert line == "HTTP/1.1 200 OK"
            assert body.decode().split()[0] == path
    assert [asked.target for asked in proxy.log] == [
        f"{one.url}/a",
        f"{one.url}/b?c=d",
        f"{two.url}/e",
        f"{one.url}/f",
    ]
    assert "proxy-connection" not in one.seen[0].headers


def test_pipelined_requests_are_answered_in_order(web: Any, proxy: Proxy) -> None:
    with web.Server(lambda seen: web.Reply(seen.path.encode())) as server, Talk(proxy) as talk:
        talk.send("".join(f"GET {server.url}/{number} HTTP/1.1\nHost: x\n\n" for number in range(5)))
        assert [talk.answer()[1] for _ in range(5)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


def test_answers_without_a_length_end_with_the_connection(web: Any, proxy: Proxy) -> None:
    reply = web.Reply(b"until the end", headers={"Content-Length": "", "Connection": "close"})
    with web.Server(lambda _: reply) as server, Talk(proxy) as talk:
        talk.send(f"GET {server.url}/ HTTP/1.1\nHost: x\n\n")
        head = read_head(talk.reader)
        assert head is not None
        assert head.get("connection") == "close"
        assert talk.reader.read() == b"until the end"


def test_head_has_no_body(web: Any, proxy: Proxy) -> None:
    with web.Server(lambda _: web.Reply(b"", headers={"Content-Length": "5"})) as server, Talk(proxy) as talk:
        for _ in range(2):
            talk.send(f"HEAD {server.url}/ HTTP/1.1\nHost: x\n\n")
            head = read_head(talk.reader)
            assert head is not None
            assert head.get("content-length") == "5"


class Echo:
    """A server that sends everything back; what CONNECT is tested with."""

    def __enter__(self) -> Echo:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.server.getsockname()[1])
        self.heads: list[bytes] = []
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def _run(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client:
                while data := client.recv(4096):
                    self.heads.append(data)
                    client.sendall(data)

    def __exit__(self, *_: object) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


def test_connect(proxy: Proxy) -> None:
    with Echo() as echo, Talk(proxy) as talk:
        talk.send(f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\nHost: x\n\n")
        assert talk.answer()[0] == "HTTP/1.1 200 Connection established"
        for piece in (b"a" * 100_000, b"b"):
            sender = threading.Thread(target=talk.sock.sendall, args=(piece,))
            sender.start()
            assert talk.reader.read(len(piece)) == piece
            sender.join()
        talk.sock.shutdown(socket.SHUT_WR)
        assert talk.reader.read() == b""
        assert [(asked.method, asked.target) for asked in proxy.log] == [("CONNECT", f"127.0.0.1:{echo.port}")]


def test_the_first_bytes_may_come_with_the_connect(proxy: Proxy) -> None:
    with Echo() as echo, Talk(proxy) as talk:
        talk.send(f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\n\nearly")
        talk.answer()
        assert talk.reader.read(5) == b"early"


@pytest.mark.parametrize(
    ("request_line", "phrase"),
    [
        ("CONNECT 127.0.0.1 HTTP/1.1", "not a host and port"),
        ("CONNECT 127.0.0.1:99999 HTTP/1.1", "not a host and port"),
        ("CONNECT :80 HTTP/1.1", "not a host and port"),
        ("GET /relative HTTP/1.1", "only absolute http URLs"),
        ("GET file:///etc/passwd HTTP/1.1", "only absolute http URLs"),
        ("GET http://127.0.0.1:1/ HTTP/1.1", "refused"),
        ("GET http://no-such-host.invalid/ HTTP/1.1", ""),
    ],
)
def test_what_cannot_be_served(proxy: Proxy, request_line: str, phrase: str) -> None:
    with Talk(proxy) as talk:
        talk.send(f"{request_line}\nHost: x\n\n")
        line, body = talk.answer()
        assert line.startswith("HTTP/1.1 502")
        assert phrase in body.decode()
        assert talk.reader.read() == b"", "the connection is closed"
    assert proxy.log[-1].outcome != "ok"


@pytest.mark.parametrize("head", ["GET http://x/ HTTP/1.1\nno colon here\n\n", "GET http://x/ HTTP/1.1\nA : b\n\n"])
def test_malformed_heads_close_the_connection(proxy: Proxy, head: str) -> None:
    with Talk(proxy) as talk:
        talk.send(head)
        assert talk.reader.read() == b""
    assert proxy.log == []


def test_endless_heads_close_the_connection(proxy: Proxy) -> None:
    with Talk(proxy) as talk:
        try:
            talk.sock.sendall(b"GET http://x/ HTTP/1.1\r\n" + b"A: b\r\n" * 50_000)
            assert talk.reader.read() == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed while we were still talking
    assert proxy.log == []


def test_the_users_own_proxy_comes_next(web: Any) -> None:
    with web.Server(lambda _: web.Reply(b"from the upstream")) as upstream:
        environ = {"http_proxy": f"http://me:pw@127.0.0.1:{upstream.port}"}
        with Proxy(environ=environ) as proxy, Talk(proxy) as talk:
            talk.send("GET http://somewhere.example.org/x HTTP/1.1\nHost: somewhere.example.org\n\n")
            assert talk.answer()[1] == b"from the upstream"
    assert upstream.seen[0].path == "http://somewhere.example.org/x"
    assert upstream.seen[0].headers["proxy-authorization"].startswith("Basic ")


def test_connect_through_the_users_own_proxy() -> None:
    with Proxy(environ={}) as second, Echo() as echo:
        # The second proxy plays the user's: reached by TCP through a small relay.
        relay = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            from hermetic.fetch.net import pump

            client, _ = relay.accept()
            with client, socket.socket(socket.AF_UNIX) as upstream:
                upstream.connect(str(second.socket_path))
                pump(client, upstream)

        threading.Thread(target=serve, daemon=True).start()
        environ = {"https_proxy": f"http://127.0.0.1:{relay.getsockname()[1]}"}
        with Proxy(environ=environ) as first, Talk(first) as talk:
            talk.send(f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\n\n")
            assert "200" in talk.answer()[0]
            talk.send("ping")
            assert talk.reader.read(4) == b"ping"
        relay.close()
        assert second.log[0].target == f"127.0.0.1:{echo.port}"
