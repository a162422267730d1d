"""Two machines with one remote between them, without a build: results are made by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermetic import tree
from hermetic.digest import Digest
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store import trust
from hermetic.store.disk import DiskStore
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote import entry, service
from hermetic.store.remote.address import Address, Mode, connect, parse
from hermetic.store.remote.cache import Download, RemoteCache, Terms
from hermetic.store.remote.flow import Pace
from hermetic.store.remote.frames import decompress
from hermetic.store.remote.protocol import Traffic
from hermetic.store.remote.tiered import TieredStore
from hermetic.store.trust import Policy, Signer
from hermetic.tree import File

KEY = Signer(trust.generate()[0], "a test")


@dataclass
class Machine:
    """A store, and the remote behind it."""

    disk: DiskStore
    url: str
    signer: Signer = KEY
    mode: Mode = Mode.READ_WRITE
    download: Download = Download.TOPLEVEL
    zones: tuple[str, ...] = ("main",)
    trusted: tuple[Signer, ...] = (KEY,)
    lease: bool = False
    caches: list[RemoteCache] = field(default_factory=list)

    def open(self, url: str | None = None) -> TieredStore:
        """As a new command of this machine would."""
        address = parse(url or self.url)
        policy = Policy.of("default", [one.public for one in self.trusted])
        terms = Terms(self.mode, policy, self.signer, self.zones, self.download, self.lease)
        self.caches.append(RemoteCache(connect(address), "the remote", self.disk, terms))
        return TieredStore(self.disk, self.caches[-1])

    def end(self, seconds: float = 60) -> list[str]:
        """Wait for uploads; what the command says at its end."""
        cache = self.caches[-1]
        assert cache.uploads is None or cache.uploads.wait(seconds)
        cache.close()
        return cache.summary()

    def check(self) -> None:
        """Nothing is in the store under a name that is not its own."""
        for path in (self.disk.root / "cas").rglob("*"):
            if path.is_file():
                assert Digest.of(path.read_bytes()).hash == path.name


@dataclass(frozen=True)
class Made:
    """A result of a tree with files of several sizes, and its truth."""

    key: Digest
    result: pb.ActionResult
    root: Digest
    files: dict[str, bytes]


def make(store: DiskStore, *sizes: int, seed: bytes | None = None) -> Made:
    files = {
        f"dir{n}/file{n}": (seed or os.urandom(16)) + os.urandom(size // 2) + bytes(size - size // 2)
        for n, size in enumerate(sizes)
    }
    root = tree.build({name: File(store.put(data)) for name, data in files.items()}, store.put)
    result = pb.ActionResult()
    one = result.output_directories.add(path="/build/out")
    one.root_directory_digest.hash, one.root_directory_digest.size_bytes = root.hash, root.size
    log = store.put(b"said " + os.urandom(8))
    result.stdout_digest.hash, result.stdout_digest.size_bytes = log.hash, log.size
    return Made(Digest.of(os.urandom(16)), result, root, files)


def contents(store: TieredStore, made: Made) -> dict[str, bytes]:
    """The tree as a reader finds it. Raises MissingBlob."""
    nodes = tree.walk(made.root, store.read)
    return {path: store.read(node.digest) for path, node in nodes if isinstance(node, File)}


def share_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """All S3 remotes of this process with the same credentials share one client: to make one takes longer than all
    requests of a test."""
    made: dict[tuple[str, float, str], service.Service] = {}
    original = service.connect

    def shared(address: Address, pace: Pace, traffic: Traffic) -> service.Service:
        name = address.options["endpoint"], pace.silence, os.environ["AWS_ACCESS_KEY_ID"]
        if name not in made:
            made[name] = original(address, pace, traffic)
        return made[name]

    monkeypatch.setattr(service, "connect", shared)


def entries(url: str, signer: Signer) -> dict[str, Digest]:
    """The results in a bucket: the object's name → the action's key."""
    bucket = connect(parse(url)).bucket
    assert bucket is not None
    policy = Policy.of("default", [signer.public])
    found = {}
    for one in bucket.listing(bucket.place("ac/")):
        data = bucket.read(one.place)
        if data is not None:
            payload, _ = policy.opened(entry.envelope(data), entry.TYPE)
            found[one.place] = Digest.parse(hb_pb2.Entry.FromString(decompress(payload, entry.UNFOLDED)).key)
    bucket.close()
    return found


def problems(url: str, signer: Signer, folder: Path, zones: tuple[str, ...] = ("main",)) -> list[str]:
    """What is wrong with a bucket, found by bringing every output of every result to an empty store."""
    machine = Machine(DiskStore(folder), url, signer, Mode.READ, Download.ALL, zones, (signer,))
    store = machine.open()
    cache = machine.caches[-1]
    wrong = []
    for place, key in entries(url, signer).items():
        result = store.get_remote(key)
        if result is None:
            wrong.append(f"{place} is not to be had")
            continue
        try:
            for one in result.output_directories:
                root = Digest(one.root_directory_digest.hash, one.root_directory_digest.size_bytes)
                for _, node in tree.walk(root, machine.disk.read):
                    if isinstance(node, File):
                        machine.disk.read(node.digest)
            for file in result.output_files:
                machine.disk.read(Digest(file.digest.hash, file.digest.size_bytes))
        except MissingBlob as error:
            wrong.append(f"{place}: {error}")
    losses = cache.downloads.losses
    wrong += [f"gone: {digest}" for digest in losses.evicted] + [f"wrong: {digest}" for digest in losses.corrupt]
    machine.check()
    cache.close()
    cache.remote.close()
    return wrong
