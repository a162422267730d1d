"""Vendor directories: complete or visibly incomplete, never wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.errors import FetchError, UserError
from hermetic.fetch.vendor import VendorDir
from hermetic.store.operation import Resolved
from hermetic.tree import File, Symlink

PIN = {"commit": "0" * 40, "submodules": False}


@pytest.fixture
def vendor(tmp_path: Path) -> VendorDir:
    return VendorDir(tmp_path / "vendor")


def made(store: Any) -> Resolved:
    nodes = {"a/b": File(store.put(b"1")), "a/c": File(store.put(b"2"), True), "l": Symlink("a")}
    return Resolved(Kind.TREE, tree.build(nodes, store.put))


def test_layout(vendor: VendorDir, store: Any) -> None:
    digest = store.put(b"x")
    vendor.put("http", {"sha256": digest.hash}, Resolved(Kind.BLOB, digest), store)
    assert [str(path.relative_to(vendor.path)) for path in vendor.path.rglob("*") if path.is_file()] == [
        f"cas/{digest.hash[:2]}/{digest.hash}"
    ]


def test_trees_come_back(vendor: VendorDir, store: Any) -> None:
    result = made(store)
    vendor.put("git", PIN, result, store)
    fresh = type(store)()
    assert vendor.get("git", PIN, fresh) == result
    assert fresh.texts(result.digest) == {"a/b": "1", "a/c": "2", "l": "-> a"}
    assert vendor.get("git", {**PIN, "submodules": True}, fresh) is None, "other parameters are another tree"
    assert vendor.get("oci", {"digest": "sha256:" + "0" * 64}, fresh) is None


def test_putting_twice_changes_nothing(vendor: VendorDir, store: Any) -> None:
    result = made(store)
    vendor.put("git", PIN, result, store)
    before = {path: path.stat().st_ino for path in vendor.path.rglob("*")}
    vendor.put("git", PIN, result, store)
    after = {path: path.stat().st_ino for path in (vendor.path / "cas").rglob("*")}
    assert after.items() <= before.items()


@pytest.mark.parametrize("crash_after", range(6))
def test_an_interrupted_vendoring_is_smaller_never_wrong(vendor: VendorDir, store: Any, crash_after: int) -> None:
    """The store breaks at the n-th blob, in the middle of it: the tree is there only if whole."""
    result = made(store)
    opened: list[Digest] = []
    original = store.open

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: Any) -> int:
            raise OSError("the disk is gone")

    def breaking(digest: Digest) -> BinaryIO:
        opened.append(digest)
        if len(opened) > crash_after:
            return io.BufferedReader(Broken())  # type: ignore[return-value]
        return original(digest)  # type: ignore[no-any-return]

    store.open = breaking
    try:
        vendor.put("git", PIN, result, store)
    except OSError:
        assert vendor.get("git", PIN, type(store)()) is None
        assert all(len(path.name) == 64 for path in vendor.path.rglob("*") if path.is_file()), "no half file is left"
    store.open = original
    vendor.put("git", PIN, result, store)
    fresh = type(store)()
    assert vendor.get("git", PIN, fresh) == result
    assert fresh.texts(result.digest) == store.texts(result.digest)


@pytest.mark.parametrize("damage", ["other", "gone"])
def test_damage_is_seen(vendor: VendorDir, store: Any, damage: str) -> None:
    result = made(store)
    vendor.put("git", PIN, result, store)
    for path in (vendor.path / "cas").rglob("*"):
        if path.is_file() and path.name == Digest.of(b"1").hash:
            path.write_bytes(b"9") if damage == "other" else path.unlink()
    with pytest.raises(FetchError, match="hb vendor") as caught:
        vendor.get("git", PIN, type(store)())
    assert Digest.of(b"1").hash in caught.value.message


@pytest.mark.parametrize("pin", ["../../x", "", "a/b", "x\n"])
def test_pins_are_no_paths(vendor: VendorDir, store: Any, pin: str) -> None:
    with pytest.raises(UserError, match="not a pin"):
        vendor.get("git", {"commit": pin}, store)
