"""Locks of crates are what Cargo.lock pins, all of it or an error."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.cargo_lock import crates, lock_cargo

SOURCE = "registry+http://example.org/index"
NAMES = st.text(string.ascii_lowercase + "-_", min_size=1, max_size=12)
VERSIONS = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: f"{pair[0]}.{pair[1]}.0")
PINS = st.text("0123456789abcdef", min_size=64, max_size=64)


def package(name: str, version: str, source: str = SOURCE, checksum: str | None = "0" * 64) -> str:
    fields = {"name": name, "version": version, "source": source, "checksum": checksum}
    return "[[package]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items() if value)


@given(st.dictionaries(st.tuples(NAMES, VERSIONS), PINS, max_size=8))
def test_every_crate_of_a_registry_is_locked(pinned: dict[tuple[str, str], str]) -> None:
    text = "version = 4\n" + "\n".join(package(*one, checksum=pin) for one, pin in pinned.items())
    assert crates(text) == [f"{name} {version} {pin}" for (name, version), pin in pinned.items()]


def test_the_workspaces_own_packages_are_not_fetched() -> None:
    assert crates(package("mine", "0.1.0", source="", checksum=None) + package("theirs", "1.0.0")) == [
        f"theirs 1.0.0 {'0' * 64}"
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (package("a", "1.0.0", "git+http://example.org/a#0123"), "a 1.0.0 comes from git"),
        (package("a", "1.0.0", checksum=None), "a 1.0.0 has no checksum"),
        ("[[package", "not a Cargo.lock"),
    ],
)
def test_what_nothing_pins_is_refused(text: str, why: str) -> None:
    with pytest.raises(FetchError, match=why):
        crates(text)


def test_another_cargo_lock_makes_the_lock_stale(tmp_path: Path) -> None:
    old = {"sdist": "", "cargo_lock": package("a", "1.0.0")}
    text = lock_cargo(old, tmp_path)
    assert lockfile.entries(text, 3, "a.lock") == [["a", "1.0.0", "0" * 64]]
    assert not lockfile.is_stale(text, "cargo", old)
    assert lockfile.is_stale(text, "cargo", {**old, "cargo_lock": package("a", "1.0.1")})
