"""Versions as dpkg orders them, control paragraphs, relations."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.errors import ArchiveError
from hermetic.fetch.deb_control import compare, parse_control, relations, satisfies

ASCENDING = [
    "0~~", "0~~a", "0~", "0", "0-1~", "0-1", "0.1", "1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0-1", "1.0-1+b1",
    "1.0-1+deb13u1", "1.0-1.1", "1.0-2", "1.0a", "1.0+b", "1.0.1", "1.2", "1.10", "2", "1:0.1", "2:0",
]  # fmt: skip
VERSIONS = st.from_regex(r"(?:[0-3]:)?[0-9][0-9a-zA-Z.+~]{0,6}(?:-[0-9a-z.+~]{1,4})?", fullmatch=True)


def test_versions_are_ordered_as_the_manual_says() -> None:
    for low, left in enumerate(ASCENDING):
        for high, right in enumerate(ASCENDING):
            assert compare(left, right) == (low > high) - (low < high), (left, right)


@pytest.mark.parametrize(("left", "right"), [("1.0", "1.0-0"), ("0:1", "1"), ("1.00", "1.0"), ("1.a0", "1.a")])
def test_equal_versions_may_look_different(left: str, right: str) -> None:
    assert compare(left, right) == compare(right, left) == 0


@pytest.mark.skipif(not shutil.which("dpkg"), reason="no dpkg on this machine")
@settings(max_examples=150, deadline=None)
@given(VERSIONS, VERSIONS)
def test_dpkg_agrees(left: str, right: str) -> None:
    def dpkg(operator: str) -> bool:
        done = subprocess.run(["dpkg", "--compare-versions", left, operator, right], check=False, capture_output=True)
        assert not done.stderr, done.stderr
        return done.returncode == 0

    assert compare(left, right) == dpkg("gt") - dpkg("lt")


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_an_order(a: str, b: str, c: str) -> None:
    assert compare(a, b) == -compare(b, a)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


def test_relations() -> None:
    assert list(relations("aa, b+:any (<< 1:2~),c3(= 3)")) == [("aa", "", ""), ("b+", "<<", "1:2~"), ("c3", "=", "3")]
    assert list(relations("")) == []
    assert satisfies("1.0", "<=", "1.0") and not satisfies("1.0", ">>", "1.0") and satisfies("1.0", "", "")


def test_continuation_lines_stay() -> None:
    assert parse_control("A: 1\nB: 2\n  more\n .\n")["B"] == "2\n  more\n ."


@pytest.mark.parametrize("text", ["", " lead", "A: 1\nA: 2", "no colon", "sp ace: x", ": x", "A: 1\n\nB: 2"])
def test_what_is_no_paragraph_is_refused(text: str) -> None:
    with pytest.raises(ArchiveError):
        parse_control(text)
