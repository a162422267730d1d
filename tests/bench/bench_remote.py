"""A remote cache on a real S3 server: putting and getting a large blob against boto3's own transfers, and what a
hit costs. `python tests/bench/bench_remote.py [MiB]`."""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import cache_servers
from common import paired, row, timed
from remote_machines import Machine, contents, make

from hermetic.digest import Digest
from hermetic.store.disk import DiskStore
from hermetic.store.remote.address import connect, parse

HITS = 200


def large(s3: cache_servers.S3Server, base: Path, size: int) -> None:
    """Content that compresses to about 40 %, as object files do."""
    rng = random.Random(1)
    words = [rng.randbytes(8) for _ in range(4000)]
    path = base / "large"
    with path.open("wb") as out:
        for _ in range(size):
            out.write(b"".join(rng.choices(words, k=1 << 17)))
    address = parse(s3.url())
    remote, client, store = connect(address), s3.client(), DiskStore(base / "store")
    digest = store.put_file(path)
    zone = [""]

    def put() -> None:
        zone[0] = uuid.uuid4().hex  # nothing is written twice under one name
        remote.put_blob(digest, zone[0], lambda: store.open(digest))

    def get() -> None:
        sink = base / "got"
        with sink.open("wb") as out:
            remote.get_blob(digest, zone[0], out)
        with sink.open("rb") as back:
            assert Digest.of_file(back) == digest

    name = f"{address.path}/plain"
    row(f"put {size} MiB", *_two(put, lambda: client.upload_file(str(path), address.host, name), "boto3 upload_file"))
    got = str(base / "plain")
    row(
        f"get {size} MiB, checked",
        *_two(get, lambda: client.download_file(address.host, name, got), "boto3 download_file"),
    )
    remote.close()


def _two(ours, peer, name: str) -> tuple[float, str, float]:
    one, other = paired(ours, peer, 3)
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
        large(s3, Path(folder), size)
        hits(s3, Path(folder))


if __name__ == "__main__":
    main()
