"""Compiled objects on disk: whole or absent, checked when read, the least recently used go first."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.store.compile.objects import HEAD, KEY, Objects, measure, sweep


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(3 << 20)], ids=["empty", "small", "large"])
def test_round_trip(objects: Objects, data: bytes) -> None:
    objects.put(key(1), data)
    assert objects.read(key(1)) == data
    found = objects.open(key(1))
    assert found is not None and found[1] == len(data)
    found[0].close()
    assert objects.read(key(2)) is None


@pytest.mark.parametrize(
    "name", ["", "a", "../" * 20 + "etc/passwd", "A" * 64, "g" * 64, "a" * 65, "a" * 64 + "\n", "٣" * 64]
)
def test_no_other_name_reaches_the_disk(objects: Objects, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of an object"):
        objects.read(name)
    with pytest.raises(ValueError, match="not the name of an object"):
        objects.put(name, b"x")
    assert KEY.fullmatch(key(1))


def test_every_cut_and_every_flipped_byte_is_a_miss(objects: Objects, tmp_path: Path) -> None:
    objects.put(key(1), b"some object")
    (path,) = [one for one in objects.folder.rglob("*") if one.is_file()]
    good = path.read_bytes()
    bad = [good[:cut] for cut in range(len(good))]
    bad += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    for data in bad:
        path.write_bytes(data)
        assert objects.read(key(1)) is None, data
        assert not path.exists(), "it is gone, so that a whole one takes its place"
    objects.put(key(1), b"some object")
    assert objects.read(key(1)) == b"some object"


def test_what_is_not_kept_leaves_nothing(objects: Objects) -> None:
    with objects.coming() as incoming:
        incoming.write(b"half")
    with pytest.raises(RuntimeError), objects.coming() as incoming:
        incoming.write(b"half")
        raise RuntimeError
    assert measure(objects.folder) == (0, 0)


def test_taking_from_another_folder(objects: Objects, tmp_path: Path) -> None:
    held = Objects(tmp_path / "held")
    held.put(key(1), b"one")
    assert list(held.keys()) == [key(1)]
    assert objects.take(held, key(1)) and not objects.take(held, key(1))
    assert objects.read(key(1)) == b"one" and held.read(key(1)) is None


@given(sizes=st.lists(st.integers(0, 3000), max_size=12), limit=st.integers(0, 8000))
def test_sweeping_keeps_the_newest_that_fit(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int
) -> None:
    objects = Objects(tmp_path_factory.mktemp("objects"))
    for number, size in enumerate(sizes):
        objects.put(key(number), bytes(size))
        os.utime(objects.folder / key(number)[:2] / key(number), (1000 + number, 1000 + number))
    removed = sweep(objects.folder, limit)
    left = [number for number in range(len(sizes)) if objects.has(key(number))]
    assert removed == len(sizes) - len(left)
    assert measure(objects.folder)[1] <= limit
    assert left == list(range(len(sizes) - len(left), len(sizes))), "the newest, without a gap"
    if removed:
        assert sum(sizes[number] + HEAD for number in [*left, left[0] - 1 if left else len(sizes) - 1]) > limit


def test_what_was_not_used_for_long_goes(objects: Objects) -> None:
    now = 1_000_000.0
    for number, age in enumerate((0, 10, 20, 30)):
        objects.put(key(number), b"x")
        place = next(one for one in objects.folder.rglob(key(number)))
        os.utime(place, (now - age, now - age))
    assert sweep(objects.folder, since=now - 20, dry_run=True) == 1
    assert measure(objects.folder)[0] == 4
    assert sweep(objects.folder, since=now - 15) == 2
    assert [objects.read(key(number)) is not None for number in range(4)] == [True, True, False, False]


def test_reading_is_using(objects: Objects) -> None:
    for number in (1, 2):
        objects.put(key(number), b"x")
        os.utime(objects.folder / key(number)[:2] / key(number), (number, number))
    assert objects.read(key(1)) == b"x"
    sweep(objects.folder, HEAD + 1)
    assert objects.has(key(1)) and not objects.has(key(2))
