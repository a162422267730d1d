"""The real thing: small packages locked and fetched from the registries this machine is configured for,
through boxed workers. What is in the lock is what arrives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.dispatch import fetch_batch
from hermetic.fetch.lock import resolve
from hermetic.fetch.spec import FetchRequest
from hermetic.store.disk import DiskStore
from hermetic.store.operation import Resolved

pytestmark = [pytest.mark.network, pytest.mark.sandbox]


def fetched(operation: str, requests: list[FetchRequest], work: Path, store: DiskStore) -> list[Resolved]:
    outcomes = fetch_batch(operation, requests, work, store)
    for outcome in outcomes:
        if isinstance(outcome, FetchError):
            raise outcome
    found = [outcome for outcome in outcomes if isinstance(outcome, Resolved)]
    assert [one.digest.hash for one in found] == [request.params["sha256"] for request in requests]
    return found


def pinned(sha256: str, **unkeyed: Any) -> FetchRequest:
    return FetchRequest("//test:test", {"sha256": sha256}, unkeyed)


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt on this machine")
def test_debian_packages(tmp_path: Path, store: DiskStore) -> None:
    spec = {
        "packages": ["hello", "netbase"],
        "suites": ["trixie"],
        "arches": ["amd64", "arm64"],
        "essential": False,
        "closed": False,
    }
    rows = lockfile.entries(resolve("debian", spec, tmp_path / "lock"), 7)
    assert [(row[0], row[2], row[6]) for row in rows] == [
        ("hello", "amd64", "amd64"),
        ("hello", "arm64", "arm64"),
        ("netbase", "all", "amd64,arm64"),
    ]
    requests = [pinned(row[3], package=row[0], version=row[1], filename=row[5], size=int(row[4])) for row in rows]
    found = fetched("debian", requests, tmp_path / "fetch", store)
    assert [one.digest.size for one in found] == [int(row[4]) for row in rows]


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt on this machine")
def test_a_debian_source(tmp_path: Path, store: DiskStore) -> None:
    text = resolve("debian_source", {"package": "dav1d", "suite": "trixie"}, tmp_path / "lock")
    ((name, version, file, sha256, size, path),) = lockfile.entries(text, 6)
    assert file == f"dav1d_{version}.orig.tar.xz"
    fetched(
        "debian", [pinned(sha256, package=name, version=version, filename=path, size=int(size))], tmp_path / "f", store
    )


def test_a_wheel_and_its_source(tmp_path: Path, store: DiskStore) -> None:
    spec = {
        "requirements": ["six==1.16.0"],
        "overrides": [],
        "python": "3.13",
        "glibc": "2_40",
        "arches": ["amd64", "arm64"],
    }
    wheel = lockfile.entries(resolve("python", spec, tmp_path / "lock"), 4)
    assert [(row[1], row[3]) for row in wheel] == [("six-1.16.0-py2.py3-none-any.whl", "any")]
    sdist = lockfile.entries(resolve("python_sdist", {"requirement": "six==1.16.0"}, tmp_path / "sdist"), 3)
    assert sdist[0][1] == "six-1.16.0.tar.gz"
    requests = [pinned(row[2], name="six", version="1.16.0", filename=row[1]) for row in (*wheel, *sdist)]
    fetched("python", requests, tmp_path / "fetch", store)


@pytest.mark.skipif(not shutil.which("cargo"), reason="no cargo on this machine")
def test_crates(tmp_path: Path, store: DiskStore) -> None:
    registry = 'source = "registry+https://index.example.org"'
    cargo_lock = "".join(
        f'[[package]]\nname = "{name}"\nversion = "{version}"\n{registry}\nchecksum = "{sha256}"\n'
        for name, version, sha256 in (
            ("itoa", "1.0.11", "49f1f14873335454500d59611f1cf4a4b0f786f9ac11f4312a78e4cf2566695b"),
            ("unicode-ident", "1.0.12", "3354b9ac3fae1ff6755cb6db53683adb661634f67557942dea4facebec0fee4b"),
        )
    )
    rows = lockfile.entries(resolve("cargo", {"sdist": "", "cargo_lock": cargo_lock}, tmp_path), 3)
    requests = [pinned(row[2], name=row[0], version=row[1]) for row in rows]
    fetched("crate", requests, tmp_path / "fetch", store)


def test_a_pin_that_the_archive_no_longer_has(tmp_path: Path, store: DiskStore) -> None:
    gone = pinned(
        "0" * 64, package="hello", version="0.0-1", filename="pool/main/h/hello/hello_0.0-1_amd64.deb", size=1
    )
    (outcome,) = fetch_batch("debian", [gone], tmp_path / "fetch", store)
    assert isinstance(outcome, FetchError)
    assert "hello 0.0-1" in str(outcome) and "answers 404" in str(outcome) and "`hb lock //test:test`" in str(outcome)
