"""The guarded store: whatever holds a secret stays out, wherever in a tree it is."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hermetic import tree
from hermetic.errors import ActionError
from hermetic.secret import Secret
from hermetic.store.disk import DiskStore
from hermetic.store.ingest import ingest_tree
from hermetic.store.leaks import STEP, GuardedStore

VALUE = b"hunter2-hunter2"
SECRETS = [Secret("OTHER", b"something else"), Secret("TOKEN", VALUE)]


def hard_linked(top: Path) -> None:
    (top / "deep/one").write_bytes(VALUE)
    os.link(top / "deep/one", top / "deep/two")


LEAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file": (lambda top: (top / "deep/f").write_bytes(b"x" + VALUE), "out/deep/f"),
    "a file with two names": (hard_linked, "out/deep/"),
    "over the edge of a step": (lambda top: (top / "f").write_bytes(bytes(STEP - 7) + VALUE), "out/f"),
    "over the edge, in base64": (
        lambda top: (top / "f").write_bytes(bytes(2 * STEP - 5) + base64.b64encode(VALUE)), "out/f"
    ),
    "at the end of a large file": (lambda top: (top / "f").write_bytes(bytes(3 * STEP) + VALUE), "out/f"),
    "a file nobody may read": (lambda top: ((top / "f").write_bytes(VALUE), (top / "f").chmod(0)), "out/f"),
    "a name": (lambda top: (top / "deep" / VALUE.decode()).touch(), "the name of a file"),
    "the name of a folder": (lambda top: (top / f"x{VALUE.decode()}").mkdir(), "the name of a file"),
    "where a link leads": (lambda top: (top / "link").symlink_to("/a/" + VALUE.decode()), "the target of a link"),
    "a name in base64": (
        lambda top: (top / base64.urlsafe_b64encode(VALUE).decode()).touch(), "the name of a file"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak(name: str, tmp_path: Path, store: DiskStore) -> None:
    top = tmp_path / "work" / "out"
    (top / "deep").mkdir(parents=True)
    (top / "innocent").write_text("nothing")
    make, place = LEAKS[name]
    make(top)
    with pytest.raises(ActionError, match="the secret TOKEN is in ") as caught:
        ingest_tree(top, GuardedStore(store, SECRETS, tmp_path / "work"), take=True)
    assert place in str(caught.value)
    for path in (store.root / "cas").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert VALUE not in data and base64.b64encode(VALUE)[:-2] not in data


def test_everything_else_goes_in_as_without_a_guard(tmp_path: Path, store: DiskStore) -> None:
    top = tmp_path / "out"
    (top / "deep").mkdir(parents=True)
    (top / "large").write_bytes(os.urandom(2 * STEP + 17))
    (top / "deep/link").symlink_to("../large")
    (top / "tool").write_text("#!/bin/sh\n")
    (top / "tool").chmod(0o755)
    plain = ingest_tree(top, store)
    guarded = DiskStore(tmp_path / "other")
    assert ingest_tree(top, GuardedStore(guarded, SECRETS, tmp_path)) == plain
    for _, node in tree.walk(plain, guarded.read):
        if isinstance(node, tree.File):
            assert guarded.has(node.digest)
