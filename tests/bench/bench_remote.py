"""A remote cache on a real S3 server: putting and getting a large blob against boto3's own transfers, and what a
hit costs. `python tests/bench/bench_remote.py [MiB]`."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
import cache_servers
from common import paired, row, timed
from remote_machines import Machine, contents, make

from hermetic.store.disk import DiskStore
from hermetic.store.remote.address import connect, parse
from hermetic.store.remote.downloads import Downloads
from hermetic.store.remote.guard import Guard
from hermetic.store.remote.known import Known
from hermetic.store.remote.promises import Place, Promises

HITS = 200
ROUNDS = 3


def compressible(path: Path, size: int) -> None:
    """Content that compresses to about 40 %, as object files do."""
    rng = random.Random(1)
    words = [rng.randbytes(8) for _ in range(4000)]
    with path.open("wb") as out:
        for _ in range(size):
            out.write(b"".join(rng.choices(words, k=1 << 17)))


def incompressible(path: Path, size: int) -> None:
    with path.open("wb") as out:
        for _ in range(size):
            out.write(os.urandom(1 << 20))


def large(s3: cache_servers.S3Server, base: Path, size: int, make: Callable[[Path, int], None]) -> None:
    """One blob out of a store and into another, against boto3's transfers of the same file."""
    path, got = base / "large", base / "plain"
    make(path, size)
    client, url = s3.client(), s3.url()
    address = parse(url)
    remote, store = connect(address), DiskStore(base / "store")
    digest = store.put_file(path)
    place = Place("")

    def put() -> None:
        nonlocal place
        place = Place(uuid.uuid4().hex)  # nothing is written twice under one name
        remote.put_blob(digest, place.zone, lambda: store.open(digest))

    def get() -> None:
        shutil.rmtree(base / "reader", ignore_errors=True)
        disk = DiskStore(base / "reader")
        known = Known(disk.root / "remotes.db", "bench")
        assert Downloads(Guard(remote), disk, Promises(disk), known, ["main"]).bring(digest, place)
        assert disk.has(digest)
        known.close()

    what = f"{size} MiB, {make.__name__}"
    name = f"{address.path}/plain"
    row(f"put {what}", *_two(put, lambda: client.upload_file(str(path), address.host, name), "boto3 upload_file"))
    row(f"get {what}", *_two(get, lambda: client.download_file(address.host, name, str(got)), "boto3 download_file"))
    remote.close()
    for folder in (base / "store", base / "reader"):
        shutil.rmtree(folder)
    path.unlink()
    got.unlink()


def _two(ours, peer, name: str) -> tuple[float, str, float]:
    one, other = paired(ours, peer, ROUNDS)
    return one, name, other


def hits(s3: cache_servers.S3Server, base: Path) -> None:
    """A result with a small tree: what the lookup costs beside a plain GET of the same object."""
    writer = Machine(DiskStore(base / "writer"), s3.url())
    store = writer.open()
    made = [make(writer.disk, 100, 3000, 9000) for _ in range(HITS)]
    for one in made:
        store.put_result(one.key, one.result)
    writer.end()
    reader = Machine(DiskStore(base / "reader"), writer.url)
    behind = reader.open()
    address = parse(writer.url)
    client = s3.client()

    def ours(one) -> None:
        assert behind.get_remote(one.key) is not None
        assert contents(behind, one) == one.files

    def peer(one) -> None:
        place = f"{address.path}/hb/ac/main/{one.key.hash[:2]}/{one.key.hash}"
        client.get_object(Bucket=address.host, Key=place)["Body"].read()

    peer(made[0])
    ours(made[0])
    rows = [(timed(lambda one=one: ours(one)), timed(lambda one=one: peer(one))) for one in made[1:]]
    row(
        "a hit: signed result and its files",
        statistics.median(one for one, _ in rows),
        "boto3 get_object",
        statistics.median(two for _, two in rows),
    )
    print(f"requests per hit: {reader.caches[0].remote.traffic.requests / HITS:.2f}")


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    os.environ |= {"AWS_ACCESS_KEY_ID": cache_servers.ACCESS, "AWS_SECRET_ACCESS_KEY": cache_servers.SECRET}
    with tempfile.TemporaryDirectory() as folder, cache_servers.running_s3(Path(folder) / "s3") as s3:
        large(s3, Path(folder), size, compressible)
        large(s3, Path(folder), size, incompressible)
        hits(s3, Path(folder))


if __name__ == "__main__":
    main()
