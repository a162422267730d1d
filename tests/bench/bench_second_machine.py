"""A target that one machine has built, on a second one: an empty store, a fresh checkout in another folder, and a bucket
between the two. Against a plain recursive copy of the same objects by boto3.
`python tests/bench/bench_second_machine.py [LABEL] [STORE]`: STORE is where LABEL is built already (the usual one)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
import cache_servers
from bench_rebuild import copy

from hermetic.store.stage import remove_tree

ROOT = Path(__file__).parents[2]


def hb(folder: Path, *words: str, **env: str) -> tuple[float, str, str]:
    """Seconds, stdout, stderr."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(folder / "hb"), *words], cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - began
    assert done.returncode == 0, done.stderr[-4000:]
    return wall, done.stdout, done.stderr


def traffic(stderr: str) -> str:
    return re.search(r"\d+ requests, .*", stderr)[0]  # type: ignore[index]


@contextmanager
def checkout(folder: Path) -> Iterator[Path]:
    subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(folder)], check=True)
    yield folder
    remove_tree(folder)


def main() -> None:
    label = sys.argv[1] if len(sys.argv) > 1 else "//runtime:none-cu13-amd64"
    store = {"HB_STORE": sys.argv[2]} if len(sys.argv) > 2 else {}
    with tempfile.TemporaryDirectory() as name, cache_servers.running_s3(Path(name) / "s3") as s3:
        top, url = Path(name), s3.url()
        os.environ |= {"AWS_ACCESS_KEY_ID": cache_servers.ACCESS, "AWS_SECRET_ACCESS_KEY": cache_servers.SECRET}
        os.environ |= {"XDG_CONFIG_HOME": str(top / "home"), "HB_REMOTE_CACHE": url}
        with checkout(top / "first") as folder:
            wall, _, said = hb(folder, "cache", "push", label, **store)
            print(f"{'push':40} {wall:7.1f} s   {traffic(said)}   {said.splitlines()[-1]}", flush=True)
        digests = set()
        for mode in ("minimal", "toplevel", "all"):
            with checkout(top / "second") as folder:
                wall, out, said = hb(
                    folder,
                    "build",
                    label,
                    "--json",
                    "--download",
                    mode,
                    "--cache-mode",
                    "read",
                    HB_STORE=str(top / "store"),
                )
                rows = [json.loads(line) for line in out.splitlines()]
                digests.update(row["digest"] for row in rows if "digest" in row)
                size = subprocess.run(
                    ["du", "-sm", str(top / "store")], capture_output=True, text=True, check=True
                ).stdout.split()[0]
                print(
                    f"{'build, --download ' + mode:40} {wall:7.1f} s   {traffic(said)}   {said.splitlines()[-2]}, store of {size} MB",
                    flush=True,
                )
            remove_tree(top / "store")
        assert len(digests) == 1, digests
        wall, count, size = copy(s3, url, top / "copy", 16)
        print(f"{'boto3: recursive copy of everything':40} {wall:7.1f} s   {count} requests, {size / 1e6:.1f} MB in")
        shutil.rmtree(top / "copy")


if __name__ == "__main__":
    main()
