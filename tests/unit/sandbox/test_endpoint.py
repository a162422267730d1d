"""The object store inside a sandbox, asked by somebody who wants more than it gives."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermetic.sandbox import endpoint as module
from hermetic.sandbox.endpoint import Endpoint
from hermetic.sandbox.loopback import ADDRESS, listen_inside
from hermetic.store.compile.objects import Objects

CASES = json.loads((Path(__file__).parents[2] / "cases/compile_endpoint.json").read_text())
KEY = hashlib.sha256(b"x").hexdigest()
OBJECT = "/".join((*KEY[:3], KEY))


@pytest.fixture
def published(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "published")


@pytest.fixture
def running(tmp_path: Path, published: Objects) -> Iterator[Endpoint]:
    listening = socket.create_server(("127.0.0.1", 0))
    with Endpoint(published.open, Objects(tmp_path / "held")) as found:
        found.serve(listening)
        found.port = listening.getsockname()[1]  # type: ignore[attr-defined]
        yield found


def ask(running: Endpoint, request: bytes) -> tuple[int, bytes]:
    """Status and body of the one answer there is before the connection ends."""
    with socket.create_connection(("127.0.0.1", running.port)) as connection:  # type: ignore[attr-defined]
        connection.settimeout(20)
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        said = b""
        try:
            while data := connection.recv(1 << 16):
                said += data
        except ConnectionResetError:
            pass
    assert said.count(b"HTTP/1.") == 1, said
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["about"])
def test_requests(running: Endpoint, tmp_path: Path, case: dict) -> None:
    headers = "".join(f"x-{number}: y\r\n" for number in range(300))
    text = case["request"]
    for name, value in {
        "key": KEY,
        "KEY": KEY.upper(),
        "object": OBJECT,
        "headers": headers,
        "long": "a" * 70000,
    }.items():
        text = text.replace(f"{{{name}}}", value)
    status, _ = ask(running, text.encode())
    assert status == case["status"]
    kept = [path for path in (tmp_path / "held").rglob("*") if path.is_file()]
    assert len(kept) == int(case.get("kept", False))
    assert not (tmp_path / "published").exists()


def test_what_is_put_is_given_again_and_nobody_else_sees_it(running: Endpoint, published: Objects) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port)  # type: ignore[attr-defined]
    for body in (b"", b"one", os.urandom(3 << 20)):
        connection.request("PUT", f"/cache/{OBJECT}", body)
        assert connection.getresponse().read() == b""
        connection.request("GET", f"/cache/{OBJECT}")
        assert connection.getresponse().read() == body
        connection.request("HEAD", f"/cache/{OBJECT}")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, str(len(body)), b"")
    connection.close()
    assert published.open(KEY) is None
    assert (running.served, running.written) == (3, 3)


def test_a_published_object_is_given(running: Endpoint, published: Objects) -> None:
    published.put(KEY, b"object")
    assert ask(running, f"GET /cache/{OBJECT} HTTP/1.1\r\nConnection: close\r\n\r\n".encode()) == (200, b"object")


def test_half_a_body_is_not_kept(running: Endpoint, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as connection:  # type: ignore[attr-defined]
        connection.sendall(f"PUT /cache/{OBJECT} HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf".encode())
    running.close()
    assert not [path for path in (tmp_path / "held").rglob("*") if path.is_file()]


def test_an_action_may_put_so_much_and_no_more(running: Endpoint) -> None:
    running.room = 10
    put = f"PUT /cache/{OBJECT} HTTP/1.1\r\nConnection: close\r\nContent-Length: 6\r\n\r\n123456".encode()
    assert ask(running, put)[0] == 200
    assert ask(running, put)[0] == 507


def test_many_connections_wait_for_one_another(running: Endpoint) -> None:
    """Idle ones up to the limit; one more is answered when one of them goes."""
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(module.CONNECTIONS)]  # type: ignore[attr-defined]
    answers: list[int] = []
    late = threading.Thread(target=lambda: answers.append(ask(running, b"GET / HTTP/1.1\r\n\r\n")[0]))
    late.start()
    late.join(0.3)
    assert not answers
    idle.pop().close()
    late.join(20)
    assert answers == [403]
    running.close()
    for connection in idle:
        connection.close()


def test_closing_does_not_wait_for_those_who_say_nothing(running: Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as connection:  # type: ignore[attr-defined]
        connection.sendall(b"GET /cache/")
        running.close()
        assert not [one for one in threading.enumerate() if one.name == "hb-compile-endpoint"]


@pytest.mark.sandbox
def test_it_is_reached_inside_a_sandbox_and_nowhere_else(run, tmp_path: Path) -> None:
    def asking(address: str, port: int, words: str) -> str:
        return f"exec 3<>/dev/tcp/{address}/{port} && printf '{words}' >&3 && cat <&3"

    published = Objects(tmp_path / "published")
    published.put(KEY, b"an object")
    with Endpoint(published.open, Objects(tmp_path / "held")) as found:
        script = asking(*ADDRESS, rf"GET /cache/{OBJECT} HTTP/1.1\r\nConnection: close\r\n\r\n")
        result = run(f"{script}; (exec 4<>/dev/tcp/127.0.0.1/80) 2>/dev/null || echo nothing else", entered=found.open)
    said = result.stdout.read_text()
    assert said.startswith("HTTP/1.1 200") and "an object" in said and "nothing else" in said, said
    with socket.socket() as probe:
        assert probe.connect_ex(ADDRESS) != 0


@pytest.mark.sandbox
def test_what_runs_in_a_sandbox_cannot_take_its_place(run) -> None:
    """The port is a privileged one, so a step that knows the address cannot listen there before hb does."""
    script = f"""python3 -c '
import socket
try:
    socket.create_server(("{ADDRESS[0]}", {ADDRESS[1]}))
except PermissionError:
    print("refused")'"""
    assert run(script).stdout.read_text() == "refused\n"


def test_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(OSError, match="cannot be entered"):
        listen_inside(2**22 + 5)


def test_the_address_is_what_the_guide_says() -> None:
    assert re.fullmatch(r"127\.\d+\.\d+\.\d+", ADDRESS[0]) and ADDRESS[0] != "127.0.0.1" and ADDRESS[1] < 1024
