"""What a remote is asked, counted at the socket: no more than it takes."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from fault_proxy import FaultProxy
from remote_machines import contents, make

from hermetic import tree
from hermetic.digest import Digest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote.cache import Download
from hermetic.store.remote.known import Known
from hermetic.store.remote.pack import unfold
from hermetic.tree import File


def count(proxy: FaultProxy, *words: str) -> int:
    return sum(all(word in one for word in words) for one in proxy.seen)


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_tree_of_small_files_costs_two_requests(request, machine: Callable, kind: str) -> None:
    proxy: FaultProxy = request.getfixturevalue(f"{kind}_proxy")
    writer = machine(proxy.url)
    made = make(writer.disk, *[30_000] * 150)
    writer.open().put_result(made.key, made.result)
    writer.end()
    leases = count(proxy, "PUT", "/leases/")
    assert leases == (2 if kind == "s3" else 0)
    assert count(proxy, "PUT") + count(proxy, "POST") - leases == 2
    proxy.seen.clear()
    reader = machine(proxy.url, download=Download.ALL)
    store = reader.open()
    assert store.get_remote(made.key) is not None
    assert contents(store, made) == made.files
    assert len(proxy.seen) == 2, proxy.seen


def test_what_fits_into_the_result_costs_one(http_proxy: FaultProxy, machine: Callable) -> None:
    writer = machine(http_proxy.url)
    made = make(writer.disk, 10, 1000, 9000)
    writer.open().put_result(made.key, made.result)
    writer.end()
    http_proxy.seen.clear()
    store = machine(http_proxy.url).open()
    assert store.get_remote(made.key) is not None
    assert contents(store, made) == made.files
    assert len(http_proxy.seen) == 1


def test_a_hit_whose_files_nobody_reads_brings_none(http_proxy: FaultProxy, machine: Callable) -> None:
    writer = machine(http_proxy.url)
    made = make(writer.disk, 3 << 20, 50_000, 60_000)
    writer.open().put_result(made.key, made.result)
    writer.end()
    http_proxy.seen.clear()
    store = machine(http_proxy.url).open()
    assert store.get_remote(made.key) is not None
    assert not store.missing([made.root, *(Digest.of(data) for data in made.files.values())])
    assert count(http_proxy, "/cas/") == 0


def test_one_file_of_many_brings_one_blob(http_proxy: FaultProxy, machine: Callable) -> None:
    writer = machine(http_proxy.url)
    made = make(writer.disk, *[2 << 20] * 4)
    writer.open().put_result(made.key, made.result)
    writer.end()
    http_proxy.seen.clear()
    store = machine(http_proxy.url).open()
    store.get_remote(made.key)
    data = made.files["dir2/file2"]
    assert store.path(Digest.of(data)).read_bytes() == data
    assert count(http_proxy, "/cas/") == 1


def test_a_miss_is_asked_once(http_proxy: FaultProxy, machine: Callable) -> None:
    store = machine(http_proxy.url).open()
    key = Digest.of(os.urandom(8))
    assert [store.get_remote(key) for _ in range(5)] == [None] * 5
    assert len(http_proxy.seen) == 1


def merged(store, *parts) -> tuple[Digest, pb.ActionResult]:
    """The result of a merge: nothing in it is new."""
    return result_with(tree.merge([one.root for one in parts], store.read, store.put, replace_files=True))


def result_of(store: DiskStore, files: dict[str, bytes]) -> tuple[Digest, pb.ActionResult]:
    return result_with(tree.build({path: File(store.put(data)) for path, data in files.items()}, store.put))


def result_with(root: Digest) -> tuple[Digest, pb.ActionResult]:
    result = pb.ActionResult()
    one = result.output_directories.add(path="/build/out")
    one.root_directory_digest.hash, one.root_directory_digest.size_bytes = root.hash, root.size
    return Digest.of(os.urandom(8)), result


def test_blobs_travel_once_whoever_needs_them(http_proxy: FaultProxy, machine: Callable) -> None:
    writer = machine(http_proxy.url)
    store = writer.open()
    parts = [make(writer.disk, *[40_000] * (2 + number)) for number in range(6)]
    for one in parts:
        store.put_result(one.key, one.result)
    for _ in range(5):
        store.put_result(*merged(store, *parts))
    writer.end()
    packs = [one for one in http_proxy.seen if one.startswith("PUT") and "/cas/" in one]
    assert len(packs) <= len(parts), "a merge may be sent first: then its pack serves the others"
    http_proxy.seen.clear()
    again = writer.open()  # another command of the same machine
    key, result = merged(again, *parts)
    again.put_result(key, result)
    writer.end()
    assert count(http_proxy, "PUT", "/cas/") == 0
    assert count(http_proxy, "HEAD") == 0
    reader = machine(http_proxy.url)
    behind = reader.open()
    assert behind.get_remote(key) is not None
    root = result.output_directories[0].root_directory_digest
    nodes = tree.walk(Digest(root.hash, root.size_bytes), behind.read)
    assert all(behind.read(node.digest) for _, node in nodes if isinstance(node, File))


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_small_file_of_a_merge_brings_its_pack_and_no_other(request, machine: Callable, kind: str) -> None:
    proxy: FaultProxy = request.getfixturevalue(f"{kind}_proxy")
    writer = machine(proxy.url)
    parts = [[os.urandom(40_000) for _ in range(3)] for _ in range(6)]
    files = {f"part{number}/{at}": data for number, part in enumerate(parts) for at, data in enumerate(part)}
    for number in range(6):  # each by a build of its own, so into a pack of its own
        mine = {path: data for path, data in files.items() if path.startswith(f"part{number}/")}
        writer.open().put_result(*result_of(writer.disk, mine))
        writer.end()
    key, result = result_of(writer.disk, files)
    writer.open().put_result(key, result)
    writer.end()
    proxy.seen.clear()
    store = machine(proxy.url).open()
    assert store.get_remote(key) is not None
    for number, part in enumerate(reversed(parts), 1):
        assert [store.read(Digest.of(data)) for data in part] == part
        assert count(proxy, "GET", "/cas/") == number


def test_a_look_at_a_large_tree_brings_none_of_its_files(http_proxy: FaultProxy, machine: Callable) -> None:
    writer = machine(http_proxy.url)
    data = [os.urandom(20_000) for _ in range(200)]  # too large to come with the entry
    key, result = result_of(writer.disk, {f"{'long-name-' * 15}{at}": data[at % 200] for at in range(2000)})
    writer.open().put_result(key, result)
    writer.end()
    http_proxy.seen.clear()
    reader = machine(http_proxy.url)
    behind = reader.open()
    assert behind.get_remote(key) is not None
    root = result.output_directories[0].root_directory_digest
    assert sum(1 for _ in tree.walk(Digest(root.hash, root.size_bytes), behind.read)) == 2001  # and the root
    assert count(http_proxy, "GET", "/cas/") == 1
    assert len(reader.disk.missing(Digest.of(one) for one in data)) == 200


def test_a_merge_of_what_is_only_promised_is_written_without_bringing_it(
    http_proxy: FaultProxy, machine: Callable
) -> None:
    writer = machine(http_proxy.url)
    store = writer.open()
    parts = [make(writer.disk, 50_000, 2 << 20, seed=bytes([number])) for number in range(2)]
    for one in parts:
        store.put_result(one.key, one.result)
    writer.end()
    second = machine(http_proxy.url)
    there = second.open()
    for one in parts:
        assert there.get_remote(one.key) is not None
    http_proxy.seen.clear()
    key, result = merged(there, *parts)
    there.put_result(key, result)
    assert "1 written" in second.end()[0]
    assert count(http_proxy, "/cas/") == 0
    third = machine(http_proxy.url).open()
    assert third.get_remote(key) is not None
    big = next(iter(data for name, data in parts[1].files.items() if name == "dir1/file1"))
    assert third.read(Digest.of(big)) == big


def test_a_lost_pack_is_replaced_by_its_blobs(http_proxy: FaultProxy, http_cache, machine: Callable) -> None:
    """An entry is never replaced, so what it promises is put where a reader looks next: under its own name."""
    writer = machine(http_proxy.url)
    made = make(writer.disk, *[30_000] * 5)
    writer.open().put_result(made.key, made.result)
    writer.end()
    folder = http_cache.folder / http_proxy.url.rpartition("/")[2]
    (pack,) = (folder / "cas").iterdir()
    assert {digest for digest, _ in unfold(pack.read_bytes())} == {Digest.of(data) for data in made.files.values()}
    pack.unlink()
    reader = machine(http_proxy.url)
    store = reader.open()
    assert store.get_remote(made.key) is not None
    with pytest.raises(MissingBlob):
        contents(store, made)
    for data in made.files.values():  # the action runs again
        store.put(data)
    store.put_result(made.key, made.result)
    reader.end()
    last = machine(http_proxy.url).open()
    assert last.get_remote(made.key) is not None
    assert contents(last, made) == made.files


def test_what_is_known_is_believed_for_a_day(tmp_path) -> None:
    now = [1000.0]
    known = Known(tmp_path / "known.db", "r", lambda: now[0])
    one, other = Digest.of(b"1"), Digest.of(b"2")
    known.add({one: "", other: "pack/1"}, "main")
    assert known.find([one, other], ["pr", "main"]) == {one: ("main", ""), other: ("main", "pack/1")}
    assert known.find([one], ["pr"]) == {}
    known.forget([Digest.of(b"1")])
    assert known.find([one], ["main"]) == {}
    now[0] += 2 * 86400
    assert known.find([other], ["main"]) == {}
    known.close()


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 100])
def test_a_damaged_file_of_hints_is_made_again(tmp_path, damage: bytes) -> None:
    (tmp_path / "known.db").write_bytes(damage)
    known = Known(tmp_path / "known.db", "r")
    known.add({Digest.of(b"1"): ""}, "main")
    assert known.find([Digest.of(b"1")], ["main"])
    known.close()
