"""Staging 20,000 files: the first time (hard links), and every later time, against `cp -al`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from common import paired, row, timed

from hermetic.store.disk import DiskStore
from hermetic.store.ingest import ingest_tree
from hermetic.store.stage import DiskStage


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for number in range(20_000):
            place = base / "tree" / f"d{number % 200}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"f{number}").write_text(str(number))
        store = DiskStore(base / "store")
        ingested = timed(lambda: ingest_tree(base / "tree", store))
        digest = ingest_tree(base / "tree", store)
        stage = DiskStage(store)
        first = timed(lambda: stage.tree(digest))
        copies = iter(range(100))
        link = lambda: subprocess.run(["cp", "-al", f"{base}/tree", f"{base}/c{next(copies)}"], check=True)  # noqa: E731
        peer = timed(link)
        row("staging 20,000 files, first time", first, "cp -al", peer)
        later, peer = paired(lambda: stage.tree(digest), link)
        row("staging 20,000 files, already staged", later, "cp -al", peer)
        print(f"{'taking 20,000 files into the store':45} {ingested * 1000:10.1f} ms")


main()
