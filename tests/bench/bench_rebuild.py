"""A whole build from a bucket on a fresh store, at the size of the main image's graph: every result looked up and
verified, every output brought, against a plain recursive copy of the same objects by boto3.
`python tests/bench/bench_rebuild.py [ACTIONS] [MiB of outputs]`."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
import cache_servers
from remote_machines import Machine, Made, make

from hermetic.store.disk import DiskStore
from hermetic.store.remote.address import parse
from hermetic.store.remote.cache import Download

LARGEST = 64 << 20
WIDTH = 64


def sizes(rng: random.Random, actions: int, total: int) -> list[list[int]]:
    """Files of each action: most have a few kilobytes, a few have nearly all bytes, as wheels and archives do."""
    raw = [[int(rng.lognormvariate(9, 2.2)) + 1 for _ in range(rng.choice((1, 2, 4, 40)))] for _ in range(actions)]
    scale = total / sum(map(sum, raw))
    return [[min(int(size * scale) + 1, LARGEST) for size in one] for one in raw]


def write(disk: DiskStore, url: str, plan: list[list[int]]) -> list[Made]:
    writer = Machine(disk, url)
    store = writer.open()
    made = [make(disk, *one) for one in plan]
    for one in made:
        store.put_result(one.key, one.result)
    cache = writer.caches[0]
    assert cache.uploads is not None
    while not cache.uploads.wait(60):
        print(f"# {cache.uploads.waiting} results to go", file=sys.stderr)
    print("#", writer.end()[0], file=sys.stderr)
    return made


def rebuild(root: Path, url: str, made: list[Made], width: int, download: Download) -> tuple[float, int, int]:
    """Seconds, requests, bytes."""
    reader = Machine(DiskStore(root), url, download=download)
    store = reader.open()
    began = time.perf_counter()
    with ThreadPoolExecutor(width) as pool:
        assert all(pool.map(lambda one: store.get_remote(one.key) is not None, made))
    wall = time.perf_counter() - began
    traffic = reader.caches[0].remote.traffic
    reader.caches[0].remote.close()
    return wall, traffic.requests, traffic.received


def copy(s3: cache_servers.S3Server, url: str, folder: Path, width: int, only: str = "") -> tuple[float, int, int]:
    client, address = s3.client(), parse(url)
    folder.mkdir()
    began = time.perf_counter()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=address.host, Prefix=f"{address.path}/hb/{only}")
    found = [(one["Key"], one["Size"]) for page in pages for one in page["Contents"]]
    with ThreadPoolExecutor(width) as pool:
        names = [(key, str(folder / key.rpartition("/")[2])) for key, _ in found]
        list(pool.map(lambda one: client.download_file(address.host, *one), names))
    return time.perf_counter() - began, len(found), sum(size for _, size in found)


def say(what: str, found: tuple[float, int, int], per: int) -> None:
    wall, requests, received = found
    each = 1000 * wall / per
    print(f"{what:48} {wall:8.1f} s {requests:7} requests {received / 1e6:9.1f} MB {each:8.2f} ms/action")


def main() -> None:
    actions = int(sys.argv[1]) if len(sys.argv) > 1 else 1700
    total = (int(sys.argv[2]) if len(sys.argv) > 2 else 3000) << 20
    os.environ |= {"AWS_ACCESS_KEY_ID": cache_servers.ACCESS, "AWS_SECRET_ACCESS_KEY": cache_servers.SECRET}
    with tempfile.TemporaryDirectory() as name, cache_servers.running_s3(Path(name) / "s3") as s3:
        folder, url = Path(name), s3.url()
        made = write(DiskStore(folder / "writer"), url, sizes(random.Random(3), actions, total))
        shutil.rmtree(folder / "writer")
        for number, (what, width, download) in enumerate(
            (
                ("results only, 1 connection", 1, Download.MINIMAL),
                (f"results only, {WIDTH} connections", WIDTH, Download.MINIMAL),
                ("results and all outputs, on a fresh store", 4, Download.ALL),
            )
        ):
            say(what, rebuild(folder / f"reader{number}", url, made, width, download), actions)
            shutil.rmtree(folder / f"reader{number}")
        say("boto3, results only, 1 connection", copy(s3, url, folder / "copy0", 1, "ac/"), actions)
        say("boto3, recursive copy of everything", copy(s3, url, folder / "copy1", 16), actions)


if __name__ == "__main__":
    main()
