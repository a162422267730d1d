"""Settings and configurations as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.errors import SettingError
from hermetic.settings import Configuration, Setting, find_setting

values = st.dictionaries(st.sampled_from("abcdef"), st.one_of(st.booleans(), st.integers(0, 9), st.sampled_from("xy")))


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (Setting("s", "a", ("a", "b")), "b", "b"),
        (Setting("s", "a"), "anything at all", "anything at all"),
        (Setting("s", False), "true", True),
        (Setting("s", False), "ON", True),
        (Setting("s", True), "0", False),
        (Setting("s", 1), "-12", -12),
    ],
)
def test_a_value_is_parsed_by_its_type(setting: Setting, text: str, value: object) -> None:
    parsed = setting.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("setting", "text", "phrase"),
    [
        (Setting("arch", "amd64", ("amd64", "arm64")), "amd46", "did you mean 'amd64'"),
        (Setting("arch", "amd64", ("amd64", "arm64")), "vax", "it has amd64, arm64"),
        (Setting("s", False), "maybe", "true or false"),
        (Setting("s", False), "", "true or false"),
        (Setting("s", 1), "one", "is a number"),
        (Setting("s", 1), " 1", "is a number"),
        (Setting("s", 1), "1_0", "is a number"),
        (Setting("s", 1), "\u0661", "is a number"),
        (Setting("s", 1), "9" * 5000, "is a number"),
    ],
)
def test_a_wrong_value_is_refused(setting: Setting, text: str, phrase: str) -> None:
    with pytest.raises(SettingError) as caught:
        setting.parse(text)
    assert phrase in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_unknown_setting_gets_the_nearest_name() -> None:
    with pytest.raises(SettingError) as caught:
        find_setting({"enable_kvbm": Setting("enable_kvbm", False)}, "enable_kvmb")
    assert caught.value.hint == "did you mean 'enable_kvbm'?"


@given(values)
def test_configurations_do_not_depend_on_the_order_of_their_making(wanted: dict) -> None:
    config = Configuration.of(wanted)
    again = Configuration.of(dict(reversed(wanted.items())))
    assert config.items == again.items
    assert str(config) == str(again)
    assert hash(config) == hash(again)


@given(values, values)
def test_updating_and_restricting(one: dict, other: dict) -> None:
    updated = Configuration.of(one).update(other)
    assert dict(updated.items) == {**one, **other}
    assert dict(updated.restrict(other).items) == other
    assert updated.restrict([]) == Configuration()


def test_true_and_one_are_different_texts() -> None:
    assert str(Configuration.of({"a": True})) == "a=true"
    assert str(Configuration.of({"a": 1})) == "a=1"
