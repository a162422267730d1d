"""Two threads or two processes that store and stage the same things at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

from hermetic.store.disk import DiskStore
from hermetic.store.stage import DiskStage
from hermetic.tree import File, build


def test_staging_while_others_store_the_same_blobs(tmp_path: Path) -> None:
    """A blob replaced by its equal loses its last link for a moment; staging must never see that."""
    for round_ in range(15):
        store = DiskStore(tmp_path / str(round_))
        blobs = [b"%d" % number * 100 for number in range(60)]
        nodes = {f"f{number}": File(store.put(data), number % 2 == 0) for number, data in enumerate(blobs)}
        roots = [build({**nodes, f"own{n}": File(store.put(b"own%d" % n))}, store.put) for n in range(6)]
        errors: list[BaseException] = []

        def work(root, store=store, blobs=blobs, errors=errors) -> None:
            try:
                for data in blobs:
                    digest = store.put(data)
                    with store.open(digest) as stream:
                        store.put_stream(stream)
                place = DiskStage(store).tree(root)
                assert len(list(place.iterdir())) == 61
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(root,)) for root in roots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []


def test_a_torn_blob_is_replaced_by_a_whole_one(store: DiskStore) -> None:
    digest = store.put(b"whole")
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"to")
    assert not store.has(digest)
    assert store.put(b"whole") == digest
    assert store.read(digest) == b"whole"
