"""Fetch workers in their boxes: what they can reach, what is taken from them, what is believed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.errors import FetchError, InternalError
from hermetic.fetch.dispatch import Options, fetch_batch
from hermetic.fetch.net import Asked
from hermetic.fetch.spec import FetchRequest
from hermetic.fetch.vendor import VendorDir
from hermetic.store.operation import Resolved

pytestmark = pytest.mark.sandbox

PROBES = '''
"""Fetchers that misbehave. Each answers with a file of JSON that says what it saw."""
import json, os, pathlib, socket, sys, time, urllib.request
from hermetic.fetch.spec import FetchReply


def tell(work, **seen):
    (work / "0").write_text(json.dumps(seen))
    return [FetchReply(work / "0")]


def attempt(function):
    try:
        return repr(function())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def network(requests, work):
    wanted = requests[0].unkeyed
    def tcp():
        return socket.create_connection(("127.0.0.1", wanted["port"]), 3)
    def udp():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return sock.sendto(b"x", ("198.51.100.1", 53))
    def abstract():
        sock = socket.socket(socket.AF_UNIX)
        return sock.connect("\\0" + wanted["abstract"])
    def unix():
        sock = socket.socket(socket.AF_UNIX)
        return sock.connect(wanted["unix"])
    def resolve():
        return socket.getaddrinfo("example.org", 80)
    def proxied():
        return urllib.request.urlopen(f"http://127.0.0.1:{wanted['port']}/f", timeout=5).read()
    probes = (tcp, udp, abstract, unix, resolve, proxied)
    interfaces = sorted(name for _, name in socket.if_nameindex())
    return tell(work, interfaces=interfaces, **{probe.__name__: attempt(probe) for probe in probes})


def host(requests, work):
    victim = requests[0].unkeyed["victim"]
    return tell(
        work,
        write=attempt(lambda: pathlib.Path(victim).write_text("x")),
        home=attempt(lambda: (pathlib.Path.home() / "hb-was-here").write_text("x")),
        etc=attempt(lambda: pathlib.Path("/etc/hb-was-here").write_text("x")),
        run=sorted(os.listdir("/run")),
        processes=sum(name.isdigit() for name in os.listdir("/proc")),
        environment=sorted(os.environ),
        proxies={name: os.environ[name] for name in ("http_proxy", "HTTPS_PROXY", "no_proxy")},
        capabilities=[line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1],
    )


def outside(requests, work):
    return [FetchReply(pathlib.Path("/etc/hostname"))]


def dotdot(requests, work):
    return [FetchReply(work / ".." / "out" / "0")]


def link(requests, work):
    (work / "0").symlink_to("/etc/hostname")
    return [FetchReply(work / "0")]


def linked_folder(requests, work):
    (work / "d").symlink_to("/etc")
    return [FetchReply(work / "d" / "hostname")]


def pipe(requests, work):
    os.mkfifo(work / "0")
    return [FetchReply(work / "0")]


def lies(requests, work):
    (work / "0").write_text("not what was pinned")
    return [FetchReply(work / "0")]


def talks(requests, work):
    print("{\\"replies\\": []}")
    os.system("echo '{}'")
    return lies(requests, work)


def crashes(requests, work):
    raise ZeroDivisionError("a defect")


def dies(requests, work):
    os._exit(3)


def too_few(requests, work):
    return []


def stays(requests, work):
    """Leaves a process that goes on writing into the answer."""
    (work / "0").write_text("x")
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(0.01)
            with open(work / "0", "a") as file:
                file.write("more")
    return [FetchReply(work / "0")]


def sleeps(requests, work):
    time.sleep(600)
'''


@pytest.fixture
def probe(tmp_path: Path, store: Any) -> Any:
    """Run one of PROBES in a worker."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "probes.py").write_text(PROBES)
    runs = iter(range(100))

    def run(name: str, options: dict[str, Any] | None = None, **unkeyed: Any) -> Any:
        opts = Options(fetchers={"x": f"probes:{name}"}, plugins=(str(plugins),), **(options or {}))
        request = FetchRequest("//t", {"sha256": "0" * 64}, unkeyed)
        return fetch_batch("x", [request], tmp_path / f"work{next(runs)}", store, opts)[0]

    return run


def seen(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "work0" / "0" / "scratch" / "out" / "0").read_text())


@pytest.fixture
def listeners(web: Any) -> Iterator[dict[str, Any]]:
    """What a worker would like to reach: TCP, an abstract socket and a socket under /tmp."""
    abstract, unix = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    name = f"hb-test-{os.getpid()}"
    abstract.bind(f"\0{name}")
    abstract.listen()
    short = Path("/tmp") / f"{name}.sock"
    unix.bind(str(short))
    unix.listen()
    with web.Server(lambda _: web.Reply(b"by proxy")) as server, abstract, unix:
        for address in (f"\0{name}", str(short)):  # what the worker must not reach is there to be reached
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(address)
        yield {"port": server.port, "abstract": name, "unix": str(short)}
    short.unlink()


def test_the_proxy_is_the_only_way_out(probe: Any, tmp_path: Path, listeners: dict[str, Any]) -> None:
    asked: list[Asked] = []
    probe("network", options={"progress": asked.append, "environ": {"PATH": os.environ["PATH"]}}, **listeners)
    found = seen(tmp_path)
    assert found["interfaces"] == ["lo"]
    assert "ConnectionRefusedError" in found["tcp"]
    assert "unreachable" in found["udp"]
    assert "ConnectionRefusedError" in found["abstract"]
    assert "FileNotFoundError" in found["unix"]
    assert "gaierror" in found["resolve"]
    assert found["proxied"] == repr(b"by proxy")
    assert asked == [Asked("GET", f"http://127.0.0.1:{listeners['port']}/f", "ok")]


def test_the_host_is_read_only_and_its_secrets_stay_out(probe: Any, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(Path.home()),
        "AWS_SECRET_ACCESS_KEY": "s",
        "HB_CACHE_TOKEN": "s",
        "http_proxy": "http://user:secret@proxy.example.org",
        "PIP_INDEX_URL": "http://index.example.org",
    }
    probe("host", options={"environ": environ}, victim=str(victim))
    found = seen(tmp_path)
    assert "Read-only" in found["etc"] or "Permission" in found["etc"]
    assert "Read-only" in found["home"] or "Permission" in found["home"]
    assert found["run"] == ["hb"]
    assert found["processes"] <= 4
    assert not {"AWS_SECRET_ACCESS_KEY", "HB_CACHE_TOKEN"} & set(found["environment"])
    assert "PIP_INDEX_URL" in found["environment"]
    assert found["proxies"]["http_proxy"] == found["proxies"]["HTTPS_PROXY"]
    assert found["proxies"]["http_proxy"].startswith("http://127.0.0.1:")
    assert found["proxies"]["no_proxy"] == ""
    assert int(found["capabilities"], 16) == 0
    assert victim.read_text() == "untouched"


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("outside", "outside its folder"),
        ("dotdot", "outside its folder"),
        ("link", "cannot be read"),
        ("linked_folder", "cannot be read"),
        ("pipe", "not a file"),
        ("lies", "gave sha256"),
        ("talks", "gave sha256"),
    ],
)
def test_what_a_worker_answers_is_not_trusted(probe: Any, store: Any, name: str, phrase: str) -> None:
    outcome = probe(name)
    assert isinstance(outcome, FetchError)
    assert phrase in outcome.message
    assert outcome.label == "//t"
    if Path("/etc/hostname").exists():
        assert not store.has(Digest.of(Path("/etc/hostname").read_bytes()))


@pytest.mark.parametrize(
    ("name", "phrase"),
    [("crashes", "ZeroDivisionError: a defect"), ("dies", "exit 3"), ("too_few", "answered 0 of 1")],
)
def test_a_broken_fetcher_is_a_defect(probe: Any, name: str, phrase: str) -> None:
    with pytest.raises(InternalError, match=phrase):
        probe(name)


def test_nothing_of_a_worker_outlives_it(probe: Any, tmp_path: Path) -> None:
    probe("stays")
    answer = tmp_path / "work0" / "0" / "scratch" / "out" / "0"
    size = answer.stat().st_size
    threading.Event().wait(0.2)
    assert answer.stat().st_size == size


def test_a_worker_can_be_stopped(probe: Any) -> None:
    outcome = probe("sleeps", options={"cancelled": lambda: True})
    assert isinstance(outcome, FetchError)
    assert "stopped" in outcome.message
    outcome = probe("sleeps", options={"timeout": 0.3})
    assert "stopped" in outcome.message


def test_http_end_to_end_and_from_a_vendored_copy(tmp_path: Path, store: Any, web: Any) -> None:
    data = b"the file" * 1000
    good = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    bad = {"sha256": "1" * 64}
    with web.Server(lambda seen: web.Reply(data) if seen.path == "/f" else web.Reply(status=404)) as server:
        urls = {"urls": [f"{server.url}/none", f"{server.url}/f"]}
        requests = [FetchRequest("//good", good, urls), FetchRequest("//bad", bad, urls)]
        first, second = fetch_batch(
            "http", requests, tmp_path / "w", store, Options(environ={"PATH": os.environ["PATH"]})
        )
    assert first == Resolved(Kind.BLOB, Digest.of(data))
    assert isinstance(second, FetchError)
    assert "/none: answers 404" in second.message

    vendor = VendorDir(tmp_path / "vendor")
    vendor.put("http", good, first, store)
    fresh = type(store)()
    offline = Options(vendor=vendor, network=False)
    found, missing = fetch_batch("http", requests, tmp_path / "w2", fresh, offline)
    assert found == first
    assert fresh.read(Digest.of(data)) == data
    assert isinstance(missing, FetchError)
    assert "hb vendor DIR //bad" in str(missing.hint)
    assert not (tmp_path / "w2").exists(), "no worker was started"


def test_a_damaged_vendored_copy_is_seen(tmp_path: Path, store: Any) -> None:
    vendor = VendorDir(tmp_path / "vendor")
    digest = store.put(b"good")
    vendor.put("http", {"sha256": digest.hash}, Resolved(Kind.BLOB, digest), store)
    (blob,) = (tmp_path / "vendor" / "cas").rglob(digest.hash)
    blob.write_bytes(b"evil")
    request = FetchRequest("//a", {"sha256": digest.hash}, {})
    options = Options(vendor=vendor, network=False)
    (outcome,) = fetch_batch("http", [request], tmp_path / "w", type(store)(), options)
    assert isinstance(outcome, FetchError)
    assert "is damaged" in outcome.message
