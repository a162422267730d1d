"""Whatever a remote does, a reader gets the truth or a miss, nothing wrong enters its store, and it is told."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cache_servers import free_port, running_s3
from fault_proxy import FaultProxy, tcp_proxy
from remote_machines import KEY, contents, make, problems

from hermetic.digest import EMPTY
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote import guard
from hermetic.store.remote.address import connect, parse
from hermetic.store.remote.protocol import RemoteError

CASES = json.loads((Path(__file__).parents[3] / "cases" / "remote_faults.json").read_text())
SLOW = [pytest.mark.slow]
KINDS = ["http", pytest.param("s3", marks=SLOW)]
SIZES = (100, 30_000, 200_000, 2 << 20)


def case_param(case: dict) -> object:
    """Where an answer comes slowly, it takes a while until it is given up."""
    slow = case["fault"] == "drip"
    return pytest.param(
        case, id=f"{case['fault']}-{case['where'][-4:-1].strip('*')}-{case['outcome']}", marks=SLOW if slow else []
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", [case_param(case) for case in CASES])
def test_reading(request: pytest.FixtureRequest, machine: Callable, kind: str, case: dict) -> None:
    proxy: FaultProxy = request.getfixturevalue(f"{kind}_proxy")
    writer = machine(proxy.url)
    made = make(writer.disk, *SIZES)
    writer.open().put_result(made.key, made.result)
    assert "1 written" in writer.end()[0]
    proxy.fault, proxy.where, proxy.times = case["fault"], case["where"], case.get("times", 1 << 30)
    reader = machine(proxy.url + ("&" if "?" in proxy.url else "?") + "timeout=0.4")
    store = reader.open()
    found = store.get_remote(made.key)
    try:
        outcome = "miss" if found is None else "hit" if contents(store, made) == made.files else "wrong"
    except MissingBlob:
        outcome = "lost"
    said = "\n".join(reader.end())
    assert outcome == case["outcome"] or (case["outcome"] == "any" and outcome != "wrong"), said
    assert re.search(case["says"], said), said
    reader.check()


WRITING = [
    "cut",
    "hang",
    "drop",
    "garbage",
    "400",
    "403",
    "404",
    "409",
    "429",
    "500",
    "503",
    "expired",
    "skewed",
    "no-bucket",
    "redirect",
]
QUICK = ("cut", "drop", "409", "503", "expired")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["PUT .*ac/", "(PUT|HEAD|POST) .*cas/"])
@pytest.mark.parametrize("fault", [one if one in QUICK else pytest.param(one, marks=SLOW) for one in WRITING])
def test_writing(request: pytest.FixtureRequest, machine: Callable, kind: str, where: str, fault: str) -> None:
    """A result that could not be written whole is not there, and writing it again heals it."""
    proxy: FaultProxy = request.getfixturevalue(f"{kind}_proxy")
    quick = proxy.url + ("&" if "?" in proxy.url else "?") + "timeout=0.4"
    writer = machine(quick)
    made = make(writer.disk, *SIZES)
    proxy.fault, proxy.where = fault, where
    writer.open().put_result(made.key, made.result)
    said = "\n".join(writer.end())
    proxy.fault = ""
    reader = machine(proxy.url).open()
    arrived = reader.get_remote(made.key) is not None  # it was taken, only the answer was lost
    if not arrived:
        assert "0 written" in said and len(said.splitlines()) > 1, said
        writer.open().put_result(made.key, made.result)
        assert "1 written" in writer.end()[0]
    last = machine(proxy.url)
    store = last.open()
    assert store.get_remote(made.key) is not None
    assert contents(store, made) == made.files


def test_a_remote_that_keeps_failing_is_left_alone(http_proxy: FaultProxy, machine: Callable) -> None:
    http_proxy.fault, http_proxy.where = "500", "."
    reader = machine(http_proxy.url)
    store = reader.open()
    made = [make(reader.disk, 10) for _ in range(20)]
    assert all(store.get_remote(one.key) is None for one in made)
    asked = set(http_proxy.seen)
    assert len(asked) == guard.PATIENCE
    lines = [line.replace(http_proxy.url, "the remote") for line in reader.end()]  # its port may hold a 500, too
    assert len([line for line in lines if "500" in line]) == 1


def test_after_a_rest_a_remote_is_asked_again(http_proxy: FaultProxy) -> None:
    now = [0.0]
    guarded = guard.Guard(connect(parse(http_proxy.url)), lambda: now[0])
    http_proxy.fault, http_proxy.where = "500", "."
    for _ in range(guard.PATIENCE):
        with pytest.raises(RemoteError, match="500"):
            guarded.ask(lambda remote: remote.get_result(EMPTY, "main"))
    with pytest.raises(guard.Resting):
        guarded.ask(lambda remote: remote.get_result(EMPTY, "main"))
    now[0] += guard.REST + 1
    http_proxy.fault = ""
    assert guarded.ask(lambda remote: remote.get_result(EMPTY, "main")) is None


@pytest.mark.parametrize("limit", [0, 100, 400, 5000, 100_000, 1_000_000])
def test_a_connection_to_a_reapi_server_that_breaks(casd: str, machine: Callable, limit: int) -> None:
    writer = machine(f"grpc://{casd}")
    made = make(writer.disk, *SIZES)
    writer.open().put_result(made.key, made.result)
    assert "1 written" in writer.end()[0]
    with tcp_proxy(casd) as proxy:
        proxy.limit = limit
        reader = machine(f"grpc://127.0.0.1:{proxy.port}?timeout=1")
        store = reader.open()
        with suppress(MissingBlob):
            if store.get_remote(made.key) is not None:
                assert contents(store, made) == made.files
        reader.end()
    reader.check()


def test_a_reapi_server_that_says_nothing(casd: str, machine: Callable) -> None:
    with tcp_proxy(casd) as proxy:
        proxy.mute = True
        reader = machine(f"grpc://127.0.0.1:{proxy.port}?timeout=0.4")
        made = make(reader.disk, 10)
        assert reader.open().get_remote(made.key) is None
        assert "deadline exceeded" in "\n".join(reader.end())


def test_a_connection_that_is_refused(machine: Callable) -> None:
    for url in (f"http://127.0.0.1:{free_port()}", f"s3://x?endpoint=http://127.0.0.1:{free_port()}&region=x"):
        one = machine(url)
        made = make(one.disk, *SIZES)
        store = one.open()
        assert store.get_remote(made.key) is None
        store.put_result(made.key, made.result)
        said = "\n".join(one.end())
        assert "0 hits" in said and "0 written" in said and len(said.splitlines()) > 1, said


def test_a_bucket_that_was_deleted(s3, machine: Callable) -> None:
    client, name = s3.client(), f"short-lived-{os.getpid()}"
    client.create_bucket(Bucket=name)
    url = f"s3://{name}/x?endpoint={s3.endpoint}"
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    writer.open().put_result(made.key, made.result)
    assert "1 written" in writer.end()[0]
    for one in client.list_objects_v2(Bucket=name)["Contents"]:
        client.delete_object(Bucket=name, Key=one["Key"])
    client.delete_bucket(Bucket=name)
    reader = machine(url)
    store = reader.open()
    assert store.get_remote(made.key) is None
    said = "\n".join(reader.end())
    assert "no such bucket" in said or "1 misses" in said, said
    assert contents(writer.open(), made) == made.files  # what is here is of use all the same


@pytest.mark.slow
def test_a_server_that_is_restarted_while_results_are_written(s3, machine: Callable, tmp_path: Path) -> None:
    """What was not written then is written by a later build; what was written is whole."""
    ports = [free_port() for _ in range(10)]
    with running_s3(tmp_path / "s3", ports) as server:
        url = server.url()
        writer = machine(f"{url}&timeout=2")
        made = [make(writer.disk, 100, 300_000, 17 << 20) for _ in range(6)]
        store = writer.open()
        uploads = writer.caches[-1].uploads
        for one in made:
            store.put_result(one.key, one.result)
        while uploads.sent.blobs < 3:
            assert uploads.waiting, "it was to be in the middle of it"
            time.sleep(0.001)
    with running_s3(tmp_path / "s3", ports):
        said = "\n".join(writer.end())
        assert "6 written" not in said, said
        assert problems(url, KEY, tmp_path / "left") == []
        again = writer.open()
        for one in made:
            again.put_result(one.key, one.result)
        writer.end()
        assert problems(url, KEY, tmp_path / "check") == []
        reader = machine(url).open()
        for one in made:
            assert reader.get_remote(one.key) is not None
            assert contents(reader, one) == one.files
