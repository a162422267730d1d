"""What a collector remembers of results: the very same object's, or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.store.remote.bucket import Object
from hermetic.store.remote.entry import Needs
from hermetic.store.remote.readings import Readings

ONE = Object("p/hb/ac/main/aa/" + "a" * 64, 300, 1234.5, '"tag"')
names = st.frozensets(st.tuples(st.sampled_from(["main", "pr-1"]), st.sampled_from(["a" * 64, "b" * 64, "c" * 64])))


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=9), names, max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, results: dict[str, Needs]) -> None:
    path = tmp_path_factory.mktemp("readings") / "below" / "file"
    objects = {place: replace(ONE, place=place) for place in results}
    Readings.at(path).keep((objects[place], one) for place, one in results.items())
    again = Readings.at(path)
    assert {place: again.find(one) for place, one in objects.items()} == results
    again.keep([])
    assert all(Readings.at(path).find(one) is None for one in objects.values())


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, tag='"other"'),
        replace(ONE, time=1234.6),
        replace(ONE, size=301),
        replace(ONE, place=ONE.place.replace("main", "pr-1")),
    ],
    ids=["tag", "time", "size", "place"],
)
def test_another_object_is_not_known(tmp_path: Path, other: Object) -> None:
    Readings(tmp_path / "file").keep([(ONE, frozenset())])
    assert Readings.at(tmp_path / "file").find(ONE) == frozenset()
    assert Readings.at(tmp_path / "file").find(other) is None


def test_an_object_without_a_tag_is_read_each_time(tmp_path: Path) -> None:
    bare = replace(ONE, tag="")
    Readings(tmp_path / "file").keep([(bare, frozenset())])
    assert Readings.at(tmp_path / "file").find(bare) is None


def test_every_cut_and_every_flipped_byte_is_forgotten(tmp_path: Path) -> None:
    path, known = tmp_path / "file", frozenset({("main", "a" * 64)})
    Readings(path).keep([(ONE, known)])
    good = path.read_bytes()
    bad = [good[:cut] for cut in range(len(good))]
    bad += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    for data in bad:
        path.write_bytes(data)
        assert Readings.at(path).find(ONE) in (None, known), data
    assert Readings.at(tmp_path / "none").find(ONE) is None


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    Readings(tmp_path / "file" / "below").keep([(ONE, frozenset())])
    Readings().keep([(ONE, frozenset())])
    assert Readings.at(tmp_path / "file" / "below").find(ONE) is None
