"""Crates come from the registry that cargo is configured for, by hash."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hermetic.digest import Digest
from hermetic.fetch.cargo import crate_url, fetch, prefix
from hermetic.fetch.dispatch import fetch_batch
from hermetic.fetch.spec import FetchRequest
from hermetic.store.disk import DiskStore
from hermetic.store.operation import Resolved

needs_cargo = pytest.mark.skipif(not shutil.which("cargo"), reason="no cargo on this machine")


def wanted(name: str, version: str, sha256: str) -> FetchRequest:
    return FetchRequest("//:crates", {"sha256": sha256}, {"name": name, "version": version})


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("http://example.org/dl", "http://example.org/dl/Serde/1.0.1/download"),
        ("http://example.org/dl/", "http://example.org/dl/Serde/1.0.1/download"),
        ("http://example.org/{crate}-{version}.crate", "http://example.org/Serde-1.0.1.crate"),
        ("http://example.org/{prefix}/{crate}/{version}", "http://example.org/Se/rd/Serde/1.0.1"),
        ("http://example.org/{lowerprefix}/{crate}", "http://example.org/se/rd/Serde"),
        ("http://example.org/{sha256-checksum}", "http://example.org/" + "a" * 64),
    ],
)
def test_the_markers_of_an_index(template: str, url: str) -> None:
    assert crate_url(template, "Serde", "1.0.1", "a" * 64) == url


@pytest.mark.parametrize(
    ("name", "folder"), [("a", "1"), ("ab", "2"), ("abc", "3/a"), ("abcd", "ab/cd"), ("abcdef", "ab/cd")]
)
def test_where_an_index_keeps_a_crate(name: str, folder: str) -> None:
    assert prefix(name) == folder


@needs_cargo
@pytest.mark.parametrize("dl", ["/dl", "/files/{prefix}/{crate}-{version}.crate"])
def test_crates_come_from_the_users_registry(registry: Any, tmp_path: Path, dl: str) -> None:
    registry.dl = dl
    names = [("first", "1.0.0"), ("abc", "2.0.0+build"), ("first", "1.1.0")]
    requests = [wanted(name, version, registry.add(name, version)) for name, version in names]
    (tmp_path / "work").mkdir()
    replies = fetch(requests, tmp_path / "work")
    for request, reply in zip(requests, replies, strict=True):
        assert reply.path is not None, reply.error
        assert hashlib.sha256(reply.path.read_bytes()).hexdigest() == request.params["sha256"]
    assert registry.asked.count("/index/config.json") == 1, "cargo is asked once per batch"


@needs_cargo
def test_a_crate_that_was_yanked_can_still_be_had(registry: Any, tmp_path: Path) -> None:
    (reply,) = fetch([wanted("old", "0.0.9", registry.add("old", "0.0.9"))], tmp_path)
    assert reply.path is not None, reply.error


@needs_cargo
def test_one_failure_does_not_lose_the_others(registry: Any, tmp_path: Path) -> None:
    good = registry.add("good", "1.0.0")
    registry.add("changed", "1.0.0")
    replies = fetch(
        [wanted("gone", "1.0.0", "0" * 64), wanted("changed", "1.0.0", "1" * 64), wanted("good", "1.0.0", good)],
        tmp_path,
    )
    assert [reply.path is not None for reply in replies] == [False, False, True]
    assert "gone 1.0.0" in str(replies[0].error) and "404" in str(replies[0].error)
    assert "changed 1.0.0" in str(replies[1].error) and "has sha256" in str(replies[1].error)


@needs_cargo
def test_a_registry_that_is_away_is_every_requests_error(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO_NET_RETRY", "0")
    registry.close()
    replies = fetch([wanted("a", "1.0.0", "0" * 64), wanted("b", "1.0.0", "1" * 64)], tmp_path)
    assert all("cannot reach its registry" in str(reply.error) for reply in replies)


@pytest.mark.parametrize("present", [False, True])
def test_without_a_cargo_to_run_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if present:
        (programs / "cargo").write_text("not executable")
    monkeypatch.setenv("PATH", str(programs))
    (reply,) = fetch([wanted("a", "1.0.0", "0" * 64)], tmp_path)
    assert "cargo is not here" in str(reply.error)


@needs_cargo
@pytest.mark.sandbox
def test_the_boxed_worker_uses_the_users_registry(registry: Any, tmp_path: Path) -> None:
    sha256 = registry.add("boxed", "1.0.0")
    store = DiskStore(tmp_path / "store")
    (found,) = fetch_batch("crate", [wanted("boxed", "1.0.0", sha256)], tmp_path / "work", store)
    assert isinstance(found, Resolved), found
    assert found.digest == Digest.of(registry.crates["boxed", "1.0.0"])


@needs_cargo
@pytest.mark.network
def test_a_real_crate(tmp_path: Path) -> None:
    sha256 = "baf1de4339761588bc0619e3cbc0120ee582ebb74b53b4efbf79117bd2da40fd"
    store = DiskStore(tmp_path / "store")
    (found,) = fetch_batch("crate", [wanted("cfg-if", "1.0.0", sha256)], tmp_path / "work", store)
    assert isinstance(found, Resolved), f"{found} (CARGO_HOME={os.environ.get('CARGO_HOME')})"
