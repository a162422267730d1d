"""The same promises from every kind of remote, asked of real servers."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cache_servers import new_url

from hermetic.digest import Digest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.remote.address import connect, parse
from hermetic.store.remote.protocol import MAIN, Remote, RemoteError

KINDS = ("s3", "http", "grpc")


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """URL of an empty remote of a kind; for REAPI keys are unique instead."""
    return partial(new_url, request)


@pytest.fixture(params=KINDS)
def remote(request: pytest.FixtureRequest, address: Callable[[str], str]) -> Iterator[Remote]:
    found = connect(parse(address(request.param)))
    yield found
    found.close()


def result(text: str) -> bytes:
    """A result of its own: what REAPI servers take for one."""
    return pb.ActionResult(stdout_raw=text.encode()).SerializeToString()


def key() -> Digest:
    return Digest.of(os.urandom(16))


def blob(remote: Remote, digest: Digest, zone: str = MAIN) -> bytes | None:
    sink = io.BytesIO()
    return sink.getvalue() if remote.get_blob(digest, zone, sink) else None


def put(remote: Remote, data: bytes, zone: str = MAIN) -> Digest:
    digest = Digest.of(data)
    remote.put_blob(digest, zone, lambda: io.BytesIO(data))
    return digest


def test_a_result_is_written_once(remote: Remote) -> None:
    name = key()
    assert remote.get_result(name, MAIN) is None
    assert remote.put_result(name, MAIN, result("first")) is None
    assert remote.put_result(name, MAIN, result("second")) == result("first")
    assert remote.get_result(name, MAIN) == result("first")


def test_zones_do_not_see_each_other(remote: Remote) -> None:
    name = key()
    assert remote.put_result(name, "pr-1", result("a pull request's")) is None
    assert remote.get_result(name, MAIN) is None
    assert remote.get_result(name, "pr-2") is None
    assert remote.put_result(name, MAIN, result("ours")) is None
    assert remote.get_result(name, "pr-1") == result("a pull request's")


@pytest.mark.parametrize("size", [1, 5000, 3 << 20, 40 << 20])
def test_blobs_of_all_sizes_come_back(remote: Remote, size: int) -> None:
    data = os.urandom(size // 2) + bytes(size - size // 2)
    digest = Digest.of(data)
    assert remote.find_missing([digest], MAIN) == {digest}
    assert blob(remote, digest) is None
    put(remote, data)
    assert remote.find_missing([digest, digest], MAIN) == set()
    assert blob(remote, digest) == data
    put(remote, data)  # twice is once


def test_what_is_missing_is_told_in_one_go(remote: Remote) -> None:
    there = {put(remote, os.urandom(100)) for _ in range(3)}
    absent = {key() for _ in range(40)}
    assert remote.find_missing([*there, *absent], MAIN) == absent


def test_a_result_that_lost_its_place_is_kept(remote: Remote) -> None:
    assert remote.put_aside(key(), MAIN, result("other"))


def test_a_loser_is_found_where_it_is_said_to_be(address: Callable[[str], str], http_cache) -> None:
    remote = connect(parse(address("http")))
    where = remote.put_aside(key(), MAIN, b"loser")
    assert (http_cache.folder / where.removeprefix(http_cache.url + "/")).read_bytes() == b"loser"


def test_blobs_of_zones_are_apart_where_nobody_checks_them(address: Callable[[str], str]) -> None:
    for kind in ("s3", "http"):
        remote = connect(parse(address(kind)))
        digest = put(remote, b"x", "pr-1")
        assert blob(remote, digest) is None
        assert blob(remote, digest, "pr-1") == b"x"


def test_batches_carry_what_is_there(address: Callable[[str], str]) -> None:
    remote = connect(parse(address("grpc")))
    blobs = [(Digest.of(data), data) for data in (os.urandom(1000) for _ in range(20))]
    remote.put_small(blobs, MAIN)
    before = remote.traffic.requests
    assert remote.get_small([digest for digest, _ in blobs] + [key()], MAIN) == dict(blobs)
    assert remote.traffic.requests == before + 1


def test_an_object_in_a_bucket_is_a_zstd_frame_and_never_replaced(s3) -> None:
    address = parse(s3.url())
    remote = connect(address)
    data = b"hello" * 1000
    digest = put(remote, data)
    place = f"{address.path}/hb/cas/main/{digest.hash[:2]}/{digest.hash}"
    stored = s3.client().get_object(Bucket=address.host, Key=place)["Body"].read()
    assert stored[:4] == b"\x28\xb5\x2f\xfd"
    assert len(stored) < 100
    s3.client().put_object(Bucket=address.host, Key=place, Body=b"squatted")
    put(remote, data)
    assert s3.client().get_object(Bucket=address.host, Key=place)["Body"].read() == b"squatted"


def test_a_read_is_one_request(remote: Remote) -> None:
    digest = put(remote, os.urandom(100_000))
    name = key()
    remote.put_result(name, MAIN, result("x"))
    blob(remote, digest)  # capabilities are asked once
    before = remote.traffic.requests
    blob(remote, digest)
    remote.get_result(name, MAIN)
    assert remote.traffic.requests == before + 2


@pytest.mark.parametrize("secret", ["alice:secret@", "alice:wrong@", ""])
def test_a_password_opens_and_its_lack_does_not(http_cache, secret: str) -> None:
    url = http_cache.url.replace("http://", f"http://{secret}") + f"/private/{uuid.uuid4().hex}"
    remote = connect(parse(url, {}))
    if secret == "alice:secret@":
        assert remote.put_result(key(), MAIN, b"x") is None
        return
    with pytest.raises(RemoteError, match="other credentials") as caught:
        remote.get_result(key(), MAIN)
    assert caught.value.fatal
    assert "wrong" not in str(caught.value)


def test_a_token_opens(http_cache) -> None:
    url = f"{http_cache.url}/token/{uuid.uuid4().hex}"
    assert connect(parse(url, {"HB_CACHE_TOKEN": "sesame"})).put_result(key(), MAIN, b"x") is None
    assert connect(parse(f"{url}?header=Authorization:$T", {"T": "Bearer sesame"})).get_result(key(), MAIN) is None
    with pytest.raises(RemoteError):
        connect(parse(url, {})).get_result(key(), MAIN)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_there_is_said_quickly(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    nobody = "127.0.0.1:9"
    url = {"s3": f"s3://b?endpoint=http://{nobody}", "http": f"http://{nobody}", "grpc": f"grpc://{nobody}"}[kind]
    with pytest.raises(RemoteError):
        connect(parse(url)).get_result(key(), MAIN)


def test_wrong_credentials_are_hopeless(s3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RemoteError, match="the secret key is wrong") as caught:
        connect(parse(s3.url())).get_result(key(), MAIN)
    assert caught.value.fatal
