"""Where promised blobs are: what an entry counts, and entries that count wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic import tree
from hermetic.digest import Digest
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.remote.closure import Closure, named
from hermetic.store.remote.promises import Place, Promises
from hermetic.tree import File

PACKS = [Digest.of(bytes([number])) for number in range(3)]
FILES = {f"{folder}/{name}": f"{folder} {name}".encode() for folder in "abc" for name in "xyz"} | {"again": b"a x"}


@pytest.fixture(scope="module")
def closure(tmp_path_factory: pytest.TempPathFactory) -> Closure:
    disk = DiskStore(tmp_path_factory.mktemp("writer"))
    result = pb.ActionResult()
    for files in (FILES, {"other": b"of another tree"}):
        root = tree.build({path: File(disk.put(data)) for path, data in files.items()}, disk.put)
        one = result.output_directories.add(path=f"/out{len(files)}")
        one.root_directory_digest.hash, one.root_directory_digest.size_bytes = root.hash, root.size
    log = disk.put(b"said")
    result.stderr_digest.hash, result.stderr_digest.size_bytes = log.hash, log.size
    return Closure.of(result, disk, disk.read)


def where(of_named: list[int], of_trees: list[list[int]], packs: list[str]) -> hb_pb2.Whereabouts:
    found = hb_pb2.Whereabouts(remote="r", zone="main", named=of_named)
    for name in packs:
        found.packs.add(digest=name, zone="main")
    for numbers in of_trees:
        found.trees.add(packs=numbers)
    return found


def reader(closure: Closure, folder: Path) -> DiskStore:
    """A store with the messages of the trees, and nothing else."""
    disk = DiskStore(folder)
    for message in closure.made.values():
        disk.put(message)
    return disk


def test_each_blob_is_in_the_pack_that_is_counted_for_it(closure: Closure, tmp_path: Path) -> None:
    promises = Promises(reader(closure, tmp_path / "reader"))
    blobs = list(closure.blobs)
    numbers = {digest: position % 4 for position, digest in enumerate(blobs)}
    counted = where(
        [numbers[one] for one in named(closure.result)],
        [[numbers[one] for one in files] for files in closure.trees],
        [str(name) for name in PACKS],
    )
    promises.add(closure.result, counted)
    for digest in blobs:
        pack = PACKS[numbers[digest] - 1] if numbers[digest] else None
        assert promises.find(digest) == Place("main", (pack, "main") if pack else None)


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=6),
    st.lists(st.lists(st.integers(0, 5), max_size=12), max_size=4),
    st.lists(st.sampled_from([str(PACKS[0]), str(PACKS[1]), "", "no digest", "a/b", "/1"]), max_size=4),
)
def test_who_counts_wrongly_still_promises(
    tmp_path_factory: pytest.TempPathFactory,
    closure: Closure,
    of_named: list[int],
    of_trees: list[list[int]],
    packs: list[str],
) -> None:
    """A trusted writer with a defect: its blobs are looked for in a wrong place, and then alone."""
    promises = Promises(reader(closure, tmp_path_factory.mktemp("reader")))
    promises.add(closure.result, where(of_named, of_trees, packs))
    for digest in closure.blobs:
        place = promises.find(digest)
        assert place is not None and place.zone == "main"
        assert place.pack is None or place.pack[0] in PACKS
