"""Layer assembly from the store (diff id, zstd, digest) against `tar | zstd`, and umoci where it is
installed (its gzip; it cannot do better). 2,000 files, about 300 MB."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from common import paired, row

from hermetic.oci.layer import Recipe, pack
from hermetic.store.disk import DiskStore
from hermetic.store.ingest import ingest_tree


def make_files(top: Path) -> None:
    rng = random.Random(1)
    words = [rng.randbytes(12) for _ in range(5000)]
    for number in range(2000):
        place = top / f"d{number % 50}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{number}").write_bytes(b"".join(rng.choices(words, k=12_500)))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_files(base / "tree")
        store = DiskStore(base / "store")
        recipe = Recipe(ingest_tree(base / "tree", store), "zstd")

        def shell(command: str) -> None:
            subprocess.run(command, shell=True, check=True, cwd=base, capture_output=True)

        ours, peer = paired(
            lambda: pack(recipe, store, base / "derived"), lambda: shell("tar c tree | zstd -3 -T2 -q -o x.zst -f"), 3
        )
        row("layer of 300 MB", ours, "tar | zstd -3 -T2", peer)
        if shutil.which("umoci"):
            shell("umoci init --layout oci && umoci new --image oci:x")

            def umoci() -> None:
                shutil.rmtree(base / "bundle", ignore_errors=True)
                rootless = "--rootless" if subprocess.getoutput("id -u") != "0" else ""
                shell(
                    f"umoci unpack {rootless} --image oci:x bundle && cp -a tree bundle/rootfs/ && umoci repack --image oci:y bundle"
                )

            ours, peer = paired(lambda: pack(recipe, store, base / "derived"), umoci, 1)
            row("layer of 300 MB", ours, "umoci unpack, repack", peer)


main()
