"""The inside of a fetch worker: ``python -m hermetic.fetch.worker``, started by ``dispatch`` under bwrap.

The worker sees the host's files read-only, its own scratch folder and a loopback interface; nothing
else of the network. It listens on 127.0.0.1, relays what comes to hb's proxy on a Unix socket, points
the usual proxy variables there and runs one fetcher. It reads its task as JSON from standard input
and writes its answer as one line of JSON to standard output; whatever the fetcher prints goes to
standard error.

``python -m hermetic.fetch.worker --connect HOST PORT`` is the ProxyCommand of ssh: it joins its
standard streams to a tunnel through the same proxy.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from hermetic.errors import FetchError, HbError
from hermetic.fetch.net import pump
from hermetic.fetch.spec import Fetcher, FetchReply, FetchRequest
from hermetic.secret import Secret

PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def main(argv: list[str]) -> int:
    if argv[:1] == ["--connect"]:
        return _connect(argv[1], int(argv[2]))
    answer_to = os.dup(1)
    os.dup2(2, 1)  # a fetcher's print must not be taken for the answer
    task = json.load(sys.stdin)
    os.environ.update(proxy_environment(_listen(task["proxy"])))
    try:
        replies = _run(task)
        answer: dict[str, Any] = {"replies": [_encode(reply) for reply in replies]}
    except HbError as error:
        answer = {"error": error.to_dict()}
    except Exception:  # the parent reports it as a defect, with this text
        answer = {"crash": traceback.format_exc()}
    with os.fdopen(answer_to, "w") as stream:
        stream.write(json.dumps(answer) + "\n")
    return 0


def load(target: str) -> Fetcher:
    """The fetcher that ``module:function`` names."""
    module, _, function = target.partition(":")
    return cast(Fetcher, getattr(importlib.import_module(module), function))


def proxy_environment(port: int) -> dict[str, str]:
    """What makes pip, uv, apt, cargo, git, curl, ssh and our own client go through the relay."""
    names: dict[str, str] = dict.fromkeys(PROXY_NAMES, f"http://127.0.0.1:{port}")
    names |= {"no_proxy": "", "NO_PROXY": "", "HB_FETCH_RELAY": str(port)}
    command = f"{sys.executable} -m hermetic.fetch.worker --connect %h %p"
    return {**names, "GIT_SSH_COMMAND": f"ssh -o BatchMode=yes -o 'ProxyCommand={command}'"}


def _run(task: Mapping[str, Any]) -> list[FetchReply]:
    work = Path(task["work"])
    given = tuple(Secret(name, base64.b64decode(value), tuple(hosts)) for name, value, hosts in task["secrets"])
    names = tuple(one.name for one in given)
    requests = [FetchRequest(r["label"], r["params"], r["unkeyed"], names, given) for r in task["requests"]]
    return load(task["fetcher"])(requests, work)


def _encode(reply: FetchReply) -> dict[str, Any]:
    error = reply.error or (FetchError("the fetcher gave neither a file nor an error") if not reply.path else None)
    return {"path": str(reply.path) if reply.path else None, "error": error.to_dict() if error else None}


def _listen(proxy: str) -> int:
    """Start the relay from a TCP port of this namespace's loopback to the proxy's socket."""
    server = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as upstream:
            upstream.connect(proxy)
            pump(client, upstream)

    def accept() -> None:
        while True:
            client, _ = server.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def _connect(host: str, port: int) -> int:
    """Join standard input and output to host:port by a CONNECT through the relay."""
    with socket.create_connection(("127.0.0.1", int(os.environ["HB_FETCH_RELAY"]))) as sock:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        sock.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := sock.recv(1)):
            head += byte
        if head.split(b" ")[1:2] != [b"200"]:
            sys.stderr.write(f"no tunnel to {place}: {head.decode('latin-1', 'replace')}\n")
            return 1

        def upward() -> None:
            while data := os.read(0, 65536):
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        threading.Thread(target=upward, daemon=True).start()
        while data := sock.recv(65536):
            os.write(1, data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
