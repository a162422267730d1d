"""Records of other machines: they hold all they need, and whatever is not one is refused."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.audit import bundle as module
from hermetic.audit.bundle import MAGIC, Bundle, bundle_of, place_of, publish, published
from hermetic.audit.past import Past
from hermetic.audit.why import why_differs
from hermetic.digest import Digest
from hermetic.errors import UserError
from hermetic.store.memory import MemoryStore


def packed(**changes: Any) -> bytes:
    data: dict[str, Any] = {
        "state": {"steps": [["//:a", "Run", "", "k", []]], "targets": [["//:a", "", "tree", [0]]], "files": {"B": "1"}},
        "traces": {"k": ["c/1", "", [["command", "x", ""]]]},
        "blobs": {},
    }
    for path, value in changes.items():
        *folders, name = path.split("__")
        place = data
        for folder in folders:
            place = place[folder]
        place[name] = value
    return MAGIC + zlib.compress(json.dumps(data).encode())


def test_a_record_is_the_same_whoever_made_it_and_needs_no_store(world: Any) -> None:
    past = Past(world.history, world.store)
    first = past.heads[0]
    bundle = bundle_of(past, first, world.store)
    assert bundle.encode() == bundle_of(Past(world.history, world.store), first, world.store).encode()
    again = Bundle.decode(bundle.encode())
    assert set(again.traces) == {step.key for step in again.state.steps}
    world.edit([{"path": "lib/share/deep/two.txt", "text": "two\n"}])
    world.edit([{"path": "app/BUILD.py", "replace": ["--enable-efa", "--disable-efa"]}])
    past = Past(world.history, world.store)
    head = world.build("//app:image")
    past = Past(world.history, world.store)
    nothing = MemoryStore()
    for digest in set(again.blobs):
        assert digest in bundle.blobs

    def load(digest: Digest) -> bytes:
        """Only what this machine made itself, and the record."""
        return again.load(world.store.read if digest not in bundle.blobs else nothing.read)(digest)

    answer = why_differs(past, head, "//app:image", again.view, "there", load)
    texts = {cause.text for cause, _, _ in answer.explanation.roots()}
    assert texts == {"source lib/share/deep/two.txt edited", "script /hb/build.sh of //app:app Compile"}


def test_published_and_found(memory: MemoryStore) -> None:
    bundle = Bundle.decode(packed())
    publish(bundle, "ci", "c0ffee", memory, memory)
    assert memory.get(place_of("ci", "c0ffee")) is not None
    assert memory.get(place_of("ci", "other")) is None
    message = memory.get(place_of("ci", "c0ffee"))
    assert message is not None
    assert published(message, memory) == bundle


def test_blobs_that_lie_about_their_names_are_left_out() -> None:
    good, bad = Digest.of(b"good"), Digest.of(b"bad")
    found = Bundle.decode(packed(blobs={str(good): "Z29vZA==", str(bad): "Z29vZA=="}))
    assert found.blobs == {good: b"good"}


BAD: dict[str, bytes] = {
    "empty": b"",
    "other": b"hello",
    "no body": MAGIC,
    "not compressed": MAGIC + b"{}",
    "not JSON": MAGIC + zlib.compress(b"{"),
    "a list": MAGIC + zlib.compress(b"[]"),
    "deep": MAGIC + zlib.compress(b"[" * 100_000),
    "a bomb": MAGIC + zlib.compress(b" " * (2 << 20), 9),
    "no state": packed(state=None),
    "a need that is not there": packed(state__steps=[["//:a", "Run", "", "k", [7]]]),
    "a negative need": packed(state__steps=[["//:a", "Run", "", "k", [-1]]]),
    "a circle": packed(state__steps=[["//:a", "Run", "", "k", [1]], ["//:b", "Run", "", "l", [0]]]),
    "itself": packed(state__steps=[["//:a", "Run", "", "k", [0]]]),
    "a number for a label": packed(state__steps=[[1, "Run", "", "k", []]]),
    "a short step": packed(state__steps=[["//:a"]]),
    "a target of nothing": packed(state__targets=[["//:a", "", "tree", [3]]]),
    "a trace of numbers": packed(traces={"k": ["c/1", "", [[1, 2, 3]]]}),
    "a trace with a short row": packed(traces={"k": ["c/1", "", [["command"]]]}),
    "a trace with an empty name": packed(traces={"k": ["c/1", "", [["", "", ""]]]}),
    "a blob with no digest": packed(blobs={"x": ""}),
    "a blob that is no base64": packed(blobs={str(Digest.of(b"")): "é"}),
    "files of numbers": packed(state__files={"a": 1}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_record_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNFOLDED", 1 << 20)
    with pytest.raises(UserError):
        Bundle.decode(BAD[name])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_never_surprise(data: st.DataObject) -> None:
    whole = bytearray(packed())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        Bundle.decode(bytes(whole))
    except UserError:
        pass
