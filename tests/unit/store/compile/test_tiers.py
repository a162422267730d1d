"""Compiled objects on disk with a real bucket behind, also one that is slow, wrong or down."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import pytest
from cache_servers import BUCKET
from fault_proxy import fault_proxy

from hermetic.store.compile.bucket import Bucket
from hermetic.store.compile.objects import Objects
from hermetic.store.compile.tiers import Tiers, tier_folder
from hermetic.store.remote.address import parse


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def tiers(tmp_path: Path, url: str, reads: tuple[str, ...], writes: str) -> Tiers:
    number = len(list(tmp_path.glob("tier*")))
    (tmp_path / f"tier{number}").mkdir()
    return Tiers(Objects(tmp_path / f"tier{number}/objects"), Bucket(parse(url), reads, writes))


def publish(made: Tiers, tmp_path: Path, number: int, data: bytes) -> None:
    held = Objects(tmp_path / f"held{uuid.uuid4().hex}")
    held.put(key(number), data)
    made.publish(held)


def read(made: Tiers, number: int) -> bytes | None:
    found = made.open(key(number))
    if found is None:
        return None
    with found[0] as stream:
        return stream.read()


def url_of(endpoint: str) -> str:
    return f"s3://{BUCKET}?region=eu-west-1&endpoint={endpoint}"


def test_what_one_wrote_another_reads_once(s3, tmp_path: Path) -> None:
    place = uuid.uuid4().hex
    one, other = (tiers(tmp_path, url_of(s3.endpoint), (place,), place) for _ in range(2))
    publish(one, tmp_path, 1, b"object")
    one.close(wait=True)
    name = "/".join((place, *key(1)[:3], key(1)))
    assert s3.client().get_object(Bucket=BUCKET, Key=name)["Body"].read() == b"object", "as sccache lays it out"
    assert read(other, 1) == b"object" and read(other, 2) is None
    s3.client().delete_object(Bucket=BUCKET, Key=name)
    assert read(other, 1) == b"object", "it is on disk now"
    assert not other.problem
    other.close(wait=True)


def test_zones_are_read_in_order_and_one_is_written(s3, tmp_path: Path) -> None:
    place = uuid.uuid4().hex
    main = tiers(tmp_path, url_of(s3.endpoint), (place,), place)
    zone = tiers(tmp_path, url_of(s3.endpoint), (f"{place}/pr", place), f"{place}/pr")
    publish(main, tmp_path, 1, b"trusted")
    main.close(wait=True)
    assert read(zone, 1) == b"trusted"
    publish(zone, tmp_path, 2, b"own")
    zone.close(wait=True)
    assert read(tiers(tmp_path, url_of(s3.endpoint), (place,), ""), 2) is None


def test_what_is_written_is_not_written_over(s3, tmp_path: Path) -> None:
    place = uuid.uuid4().hex
    for data in (b"first", b"second"):
        one = tiers(tmp_path, url_of(s3.endpoint), (place,), place)
        publish(one, tmp_path, 1, data)
        one.close(wait=True)
        assert not one.problem
    assert read(tiers(tmp_path, url_of(s3.endpoint), (place,), ""), 1) == b"first"


def test_a_reader_writes_nothing(s3, tmp_path: Path) -> None:
    place = uuid.uuid4().hex
    one = tiers(tmp_path, url_of(s3.endpoint), (place,), "")
    publish(one, tmp_path, 1, b"object")
    one.close(wait=True)
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix=place)


@pytest.mark.parametrize(
    "fault", ["hang", "drop", "cut", "garbage", "500", "503", "403", "expired", "no-bucket", "skewed"]
)
def test_a_bucket_that_fails_is_left_alone(s3, tmp_path: Path, fault: str) -> None:
    place = uuid.uuid4().hex
    good = tiers(tmp_path, url_of(s3.endpoint), (place,), place)
    for number in range(9):
        publish(good, tmp_path, number, b"object " * 100)
    good.close(wait=True)
    with fault_proxy(s3.endpoint) as proxy:
        made = tiers(tmp_path, url_of(proxy.url), (place,), place)
        proxy.fault = fault
        assert [read(made, number) for number in range(9)] == [None] * 9
        assert 1 <= len(proxy.seen) <= 6, proxy.seen  # three failures, each tried twice at most
        assert made.problem
        publish(made, tmp_path, 50, b"mine")
        made.close(wait=True)
        assert read(made, 50) == b"mine", "the disk is not concerned"


def test_an_object_that_is_too_long_is_not_read(s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermetic.store.compile.bucket.LARGEST", 10)
    place = uuid.uuid4().hex
    s3.client().put_object(Bucket=BUCKET, Key="/".join((place, *key(1)[:3], key(1))), Body=b"x" * 11)
    made = tiers(tmp_path, url_of(s3.endpoint), (place,), "")
    assert read(made, 1) is None and "too long" in made.problem


def test_what_came_from_elsewhere_lies_elsewhere(tmp_path: Path) -> None:
    assert tier_folder(tmp_path, "a bucket") != tier_folder(tmp_path, "another")
