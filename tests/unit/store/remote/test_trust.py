"""Attacks on shared results: who may say what an action's outputs are."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from remote_machines import KEY, Machine, Made, make

from hermetic.digest import Digest
from hermetic.errors import CommandLineError
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store import trust
from hermetic.store.remote import entry
from hermetic.store.remote.frames import compress
from hermetic.store.trust import PublicKey, Signer, find_signer

EVE = Signer(trust.generate()[0], "eve")


class Cache:
    """A folder of results, as whoever can write to it sees it."""

    def __init__(self, http_cache) -> None:
        name = uuid.uuid4().hex
        self.url = f"{http_cache.url}/{name}"
        self.folder = http_cache.folder / name

    def place(self, key: Digest) -> Path:
        found = self.folder / "ac" / key.hash
        found.parent.mkdir(parents=True, exist_ok=True)
        return found


@pytest.fixture
def cache(http_cache) -> Cache:
    return Cache(http_cache)


def written(machine: Callable[..., Machine], cache: Cache, **more: object) -> Made:
    writer = machine(cache.url, **more)
    made = make(writer.disk, 100)
    writer.open().put_result(made.key, made.result)
    assert "1 written" in writer.end()[0]
    return made


def sealed(key: Digest, result: pb.ActionResult, signer: Signer, zone: str = "main") -> bytes:
    return entry.seal(key, result, hb_pb2.Whereabouts(zone=zone), [], [], signer)


def envelope_of(data: bytes) -> hb_pb2.Envelope:
    found = hb_pb2.Envelope()
    assert pb.ActionResult.FromString(data).execution_metadata.auxiliary_metadata[0].Unpack(found)
    return found


def carried(envelope: hb_pb2.Envelope) -> bytes:
    return entry.carrier(envelope, []).SerializeToString()


def plain(result: pb.ActionResult) -> bytes:
    return result.SerializeToString()


FORGERIES: dict[str, tuple[str, Callable[[bytes, Made], bytes]]] = {
    "not signed, as another client would write it": ("not signed", lambda data, made: plain(made.result)),
    "signed by a stranger": ("does not name", lambda data, made: sealed(made.key, made.result, EVE)),
    "a stranger's signature under a known name": (
        "is wrong",
        lambda data, made: carried(_renamed(sealed(made.key, made.result, EVE))),
    ),
    "a genuine signature over another payload": (
        "is wrong",
        lambda data, made: carried(_other_payload(data, sealed(made.key, pb.ActionResult(exit_code=0), EVE))),
    ),
    "no signature in the envelope": ("not signed", lambda data, made: carried(_without_signature(data))),
    "a genuine entry of another action": (
        "another action",
        lambda data, made: sealed(Digest.of(b"another"), made.result, KEY),
    ),
    "a genuine entry of another zone": ("zone", lambda data, made: sealed(made.key, made.result, KEY, "pr-1")),
    "a genuine signature over another type": (
        "of the type",
        lambda data, made: carried(KEY.sign(envelope_of(data).payload, "application/vnd.hb.other")),
    ),
    "the payload is no entry": (
        "no entry|zstd",
        lambda data, made: carried(KEY.sign(compress(b"\xff\xff\xff\xff"), entry.TYPE)),
    ),
    "the payload unfolds without end": (
        "announced",
        lambda data, made: carried(KEY.sign(compress(bytes(entry.UNFOLDED + 1)), entry.TYPE)),
    ),
    "an envelope with a thousand strangers' signatures before the genuine one": (
        "does not name",
        lambda data, made: carried(_crowded(data)),
    ),
    "not even a message": ("ignored", lambda data, made: b"\xff" * 100),
}


def _renamed(data: bytes) -> hb_pb2.Envelope:
    found = envelope_of(data)
    found.signatures[0].keyid = KEY.public.id
    return found


def _other_payload(data: bytes, other: bytes) -> hb_pb2.Envelope:
    found = envelope_of(data)
    found.payload = envelope_of(other).payload
    return found


def _without_signature(data: bytes) -> hb_pb2.Envelope:
    found = envelope_of(data)
    del found.signatures[:]
    return found


def _crowded(data: bytes) -> hb_pb2.Envelope:
    found, genuine = envelope_of(data), envelope_of(data).signatures[0]
    del found.signatures[:]
    for number in range(1000):
        found.signatures.add(keyid=f"{number:016x}", sig=bytes(64))
    found.signatures.append(genuine)
    return found


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_result_is_a_miss_and_is_reported(machine: Callable, cache: Cache, name: str) -> None:
    made = written(machine, cache)
    says, forge = FORGERIES[name]
    place = cache.place(made.key)
    place.write_bytes(forge(place.read_bytes(), made))
    reader = machine(cache.url)
    assert reader.open().get_remote(made.key) is None
    said = "\n".join(reader.end())
    assert "1 results ignored" in said
    assert re.search(says, said), said
    assert reader.disk.get(made.key) is None


def test_the_genuine_one_is_used(machine: Callable, cache: Cache) -> None:
    made = written(machine, cache)
    assert machine(cache.url).open().get_remote(made.key) is not None
    assert machine(cache.url, trusted=(EVE, KEY)).open().get_remote(made.key) is not None


def test_a_key_that_is_no_longer_trusted_takes_its_results_along(machine: Callable, cache: Cache) -> None:
    """Also those that are in the local store already."""
    made = written(machine, cache)
    reader = machine(cache.url)
    assert reader.open().get_remote(made.key) is not None
    assert reader.open().get(made.key) is not None
    reader.trusted = (EVE,)
    assert reader.open().get(made.key) is None
    assert reader.open().get_remote(made.key) is None


def test_what_was_made_here_needs_no_signature(machine: Callable, cache: Cache) -> None:
    made = written(machine, cache)
    writer = machine(cache.url)
    writer.disk.put_result(made.key, made.result)
    writer.trusted = (EVE,)
    assert writer.open().get(made.key) is not None


def test_zones(machine: Callable, cache: Cache) -> None:
    request = written(machine, cache, zones=("pr-7", "main"))
    ours = written(machine, cache)
    for zones, sees_request in ((("main",), False), (("pr-8", "main"), False), (("pr-7", "main"), True)):
        store = machine(cache.url, zones=zones).open()
        assert (store.get_remote(request.key) is not None) == sees_request
        assert store.get_remote(ours.key) is not None


def test_a_place_that_is_taken_by_a_stranger_is_reported_and_left(machine: Callable, cache: Cache) -> None:
    made = written(machine, cache, signer=EVE)
    writer = machine(cache.url)
    writer.open().put_result(made.key, make(writer.disk, 10).result)
    said = "\n".join(writer.end())
    assert "its place is taken" in said
    assert EVE.public.id in said


def test_another_result_for_the_same_key_is_an_incident(machine: Callable, cache: Cache) -> None:
    made = written(machine, cache)
    writer = machine(cache.url)
    other = make(writer.disk, 200)
    writer.open().put_result(made.key, other.result)
    assert "not reproducible" in "\n".join(writer.end())
    assert len(list((writer.disk.root / "incidents").iterdir())) == 1
    same = machine(cache.url)
    for data in made.files.values():
        same.disk.put(data)
    for part in machine(cache.url).disk.root.parent.glob("store0/cas/*/*"):
        same.disk.put(part.read_bytes())
    again = pb.ActionResult.FromString(made.result.SerializeToString())
    again.stdout_raw = b"what it says may differ"
    same.open().put_result(made.key, again)
    assert "not reproducible" not in "\n".join(same.end())


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 43 + "=", "ed25519:" + "!" * 44, "A" * 43 + "="]
)
def test_what_is_no_public_key(text: str) -> None:
    with pytest.raises(CommandLineError, match="is not a public key"):
        PublicKey.parse(text)


def test_where_a_signing_key_comes_from(tmp_path: Path) -> None:
    pems = {name: trust.generate() for name in ("environment", "file", "command", "own")}
    for name, (pem, _) in pems.items():
        (tmp_path / name).write_bytes(pem)
    own, file = tmp_path / "own", tmp_path / "file"

    def found(given: Path | None, **environ: str) -> str | None:
        signer = find_signer(given, own, environ)
        return next((name for name, (_, public) in pems.items() if signer and public == signer.public), None)

    pem = (tmp_path / "environment").read_text()
    command = f"cat {tmp_path / 'command'}"
    assert found(file, HB_CACHE_SIGNING_KEY=pem, HB_CACHE_SIGNING_KEY_COMMAND=command) == "environment"
    assert found(file, HB_CACHE_SIGNING_KEY=str(tmp_path / "environment")) == "environment"
    assert found(file, HB_CACHE_SIGNING_KEY_COMMAND=command) == "command"
    assert found(file) == "file"
    assert found(None) == "own"
    own.unlink()
    assert found(None) is None


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_signing_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(CommandLineError, match="is not an Ed25519 private key"):
        find_signer(tmp_path / "key", tmp_path / "own", {})
    with pytest.raises(CommandLineError, match="cannot be read"):
        find_signer(tmp_path / "none", tmp_path / "own", {})
    with pytest.raises(CommandLineError, match="failed"):
        find_signer(None, tmp_path / "own", {"HB_CACHE_SIGNING_KEY_COMMAND": "false"})


def test_what_is_signed_tells_type_and_payload_apart() -> None:
    assert trust.encoding(b"b", "a") == b"DSSEv1 1 a 1 b"
    assert trust.encoding(b" 1 b", "a") != trust.encoding(b"b", "a 1 ")
