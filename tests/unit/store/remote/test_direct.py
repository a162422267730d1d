"""Objects are read without botocore once it has shown the way; what is not a plain answer is its business again."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from cache_servers import BUCKET, S3Server
from fault_proxy import FaultProxy

from hermetic.store.remote.address import parse
from hermetic.store.remote.bucket import Bucket
from hermetic.store.remote.direct import Unsure
from hermetic.store.remote.flow import PART, Pace
from hermetic.store.remote.protocol import RemoteError, Traffic


@pytest.fixture
def bucket(s3_proxy: FaultProxy) -> Iterator[Bucket]:
    found = Bucket(parse(s3_proxy.url), Traffic())
    yield found
    found.close()


def direct(bucket: Bucket, place: str) -> bool:
    """Whether a request for an object goes past botocore."""
    service = bucket._service()
    try:
        answer = service.direct.ask("HEAD", BUCKET, place, {})
    except Unsure:
        return False
    if answer is not None:
        service.wire.finish(answer)
    return True


def test_the_first_answer_shows_the_way(bucket: Bucket, s3_proxy: FaultProxy) -> None:
    place = bucket.place("x")
    assert not direct(bucket, place)
    assert bucket.read(place) is None
    assert direct(bucket, place)
    assert bucket.create(place, b"content")
    s3_proxy.seen.clear()
    assert bucket.read(place) == b"content"
    assert bucket.exists(place)
    assert not bucket.exists(bucket.place("y"))
    assert bucket.read(bucket.place("y")) is None
    assert len(s3_proxy.seen) == 4


@pytest.mark.parametrize("prefix", ["with space", "ü+~", "a=b&c", "100%", "x;y,z", "(q)'!*"])
def test_names_are_signed_as_they_are(s3: S3Server, prefix: str) -> None:
    bucket = Bucket(parse(s3.url()), Traffic())
    place, data = bucket.place(f"{prefix}/{uuid.uuid4().hex}"), os.urandom(100)
    assert bucket.create(place, data)
    assert bucket.read(place) == data
    assert direct(bucket, place)
    assert bucket.read(place) == data
    bucket.close()


@pytest.mark.parametrize(
    ("fault", "says"),
    [("403", "access denied"), ("expired", "expired"), ("no-bucket", "no such bucket"), ("400", "400")],
)
def test_a_refusal_is_explained_by_botocore(bucket: Bucket, s3_proxy: FaultProxy, fault: str, says: str) -> None:
    place = bucket.place("x")
    bucket.create(place, b"content")
    bucket.read(place)
    assert direct(bucket, place)
    s3_proxy.fault, s3_proxy.where = fault, "GET"
    with pytest.raises(RemoteError, match=says):
        bucket.read(place)
    s3_proxy.fault = ""
    assert bucket.read(place) == b"content", "which learns again"
    assert direct(bucket, place)


@pytest.mark.parametrize("fault", ["503", "500", "drop", "redirect", "garbage"])
def test_what_fails_once_is_asked_again(bucket: Bucket, s3_proxy: FaultProxy, fault: str) -> None:
    place = bucket.place("x")
    bucket.create(place, b"content")
    bucket.read(place)
    s3_proxy.fault, s3_proxy.where, s3_proxy.times = fault, "GET", 1
    assert bucket.read(place) == b"content"


def test_no_credentials_are_said(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    bucket = Bucket(parse(s3.url()), Traffic())
    with pytest.raises(RemoteError, match="credentials") as caught:
        bucket.read(bucket.place("x"))
    assert caught.value.fatal


def test_what_a_request_carries_decides_how_long_it_is_waited_for(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore hands over a stream, whose length only the headers say."""
    bucket = Bucket(parse(s3.url()), Traffic())
    asked: list[int] = []
    monkeypatch.setattr(Pace, "reply", lambda pace, sent: asked.append(sent) or 30.0)
    assert bucket.create(bucket.place("small"), b"x" * 100)
    assert bucket.create_from(bucket.place("large"), iter([bytes(PART), bytes(PART), b"end"]), 2 * PART + 3)
    assert sorted(asked) == [0, 3, 100, PART, PART, PART], "to begin, parts, and to assemble them"
    bucket.close()
