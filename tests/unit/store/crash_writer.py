"""A program that kills writers of a store and looks at what they left; test_crashes.py runs it.

``crash_writer.py points FOLDER STEP``: one scripted writer is killed after every STEP-th return from a function of
the operating system that changes files. ``crash_writer.py races FOLDER SEED ROUNDS``: several writers work on one
store and are killed at random moments. Prints {"kills": n, "problems": [...]}.

A process of its own, because it forks: each writer starts warm, so hundreds of kills take seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from hermetic.digest import Digest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.ingest import ingest_tree
from hermetic.store.protocols import MissingBlob
from hermetic.store.stage import DiskStage

CHANGING = {
    "chmod", "close", "fchmod", "flush", "ftruncate", "link", "mkdir", "mkstemp", "open", "rename", "replace", "rmdir", "symlink",
    "truncate", "unlink", "utime", "write", "__exit__",
}  # fmt: skip


class Acks:
    """What the writer knows to be stored, told by single writes to a file outside the store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, kind: str, digest: Digest) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, f"{kind} {digest}\n".encode())
        os.close(fd)

    def read(self) -> list[tuple[str, Digest]]:
        if not self.path.exists():
            return []
        return [(line.split()[0], Digest.parse(line.split()[1])) for line in self.path.read_text().splitlines()]


def write(root: Path, folder: Path, acks: Acks, seed: int) -> None:
    """What a build does to a store: sources in, outputs taken, results recorded, trees staged."""
    numbers = random.Random(seed)
    store = DiskStore(root)
    small = [store.put(b"%d" % n * numbers.randrange(1, 40)) for n in range(3)]
    for digest in small:
        acks.add("blob", digest)
    big = folder / "big"
    big.write_bytes(numbers.randbytes(1_200_000))
    with big.open("rb") as stream:
        acks.add("blob", store.put_stream(stream))
    out = folder / "out"
    (out / "bin/deep").mkdir(parents=True)
    (out / "bin/tool").write_bytes(numbers.randbytes(300))
    (out / "bin/tool").chmod(0o755)
    (out / "bin/deep/data").write_bytes(numbers.randbytes(100_000))
    (out / "bin/deep/again").write_bytes(b"0")  # is in the store already
    (out / "link").symlink_to("bin/tool")
    tree = ingest_tree(out, store, take=True)
    acks.add("blob", tree)
    result = pb.ActionResult()
    for name, digest in (("a", small[0]), ("tree", tree)):
        file = result.output_files.add(path=name)
        file.digest.hash, file.digest.size_bytes = digest.hash, digest.size
    key = Digest.of(b"key %d" % seed)
    store.put_result(key, result)
    acks.add("result", key)
    DiskStage(store).tree(tree)
    acks.add("stage", tree)
    store.put_result(key, result)


def problems(root: Path, acks: Acks) -> Iterator[str]:
    """What no kill may cause. Reads files as they are, and then through a store of its own."""
    for kind in ("cas", "exec"):
        for path in (root / kind).glob("*/*"):
            if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
                yield f"{kind}/{path.name[:8]} is torn"
            if kind == "exec" and not path.stat().st_mode & 0o111:
                yield f"exec/{path.name[:8]} cannot be executed"
            if path.stat().st_mode & 0o222:
                yield f"{kind}/{path.name[:8]} can be written"
    store = DiskStore(root)
    for path in (root / "ac").glob("*/*"):
        result = store.get(Digest(path.name, 1))
        if result is None:
            yield f"result {path.name[:8]} cannot be read"
            continue
        for file in result.output_files:
            yield from missing(store, Digest(file.digest.hash, file.digest.size_bytes), f"result {path.name[:8]}")
    for path in (root / "stage").glob("*/*"):
        if ingest_tree(path, store).hash != path.name:
            yield f"the staged tree {path.name[:8]} is not whole"
    for kind, digest in acks.read():
        if kind == "result" and store.get(digest) is None:
            yield f"the acknowledged result {digest} is gone"
        elif kind == "stage" and not (root / "stage" / digest.hash[:2] / digest.hash).is_dir():
            yield f"the acknowledged staged tree {digest} is gone"
        elif kind == "blob":
            yield from missing(store, digest, "an acknowledgement")


def missing(store: DiskStore, digest: Digest, who: str) -> Iterator[str]:
    try:
        store.read(digest)
    except MissingBlob:
        yield f"{who} names {digest}, which is not there"


def killed(work: Callable[[], None], at: int) -> bool:
    """Run ``work`` in a child that dies after its ``at``-th change to files; whether it died."""
    child = os.fork()
    if child == 0:
        count = 0

        def profile(_frame: FrameType, event: str, function: object) -> None:
            nonlocal count
            if event == "c_return" and getattr(function, "__name__", "") in CHANGING:
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(profile)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"the writer failed: {error!r}\n".encode())
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.waitstatus_to_exitcode(status) == 1:
        raise SystemExit("a writer failed by itself")
    return os.WIFSIGNALED(status)


def points(top: Path, step: int) -> Iterator[list[str]]:
    """Each kill on a fresh store; the next writer must then get through on what is left."""
    at = 0
    dead = True
    while dead:
        at += step
        folder = top / str(at)
        (folder / "files").mkdir(parents=True)
        root, acks = folder / "store", Acks(folder / "acks")

        def work(root: Path = root, folder: Path = folder, acks: Acks = acks) -> None:
            write(root, folder / "files", acks, 1)

        dead = killed(work, at)
        found = list(problems(root, acks)) if root.exists() else []
        (folder / "more").mkdir()
        write(root, folder / "more", acks, 1)
        found += [f"after recovery: {one}" for one in problems(root, acks)]
        yield [f"killed after change {at}: {one}" for one in found]
        shutil.rmtree(folder)


def races(top: Path, seed: int, rounds: int) -> Iterator[list[str]]:
    """Three writers of overlapping content on one store for all rounds; two are killed in each."""
    numbers = random.Random(seed)
    root = top / "store"
    for number in range(rounds):
        children = {}
        for writer in range(3):
            folder = top / f"{number}-{writer}"
            folder.mkdir()
            child = os.fork()
            if child == 0:
                write(root, folder, Acks(top / "acks"), seed + numbers.randrange(10**9) if writer else number)
                os._exit(0)
            children[child] = folder
        time.sleep(numbers.random() * 0.03)
        for child in list(children)[:2]:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        for folder in children.values():
            shutil.rmtree(folder)
        if number % 10 == 9 or number == rounds - 1:
            yield [f"round {number}: {one}" for one in problems(root, Acks(top / "acks"))]
            shutil.rmtree(root)
            (top / "acks").unlink(missing_ok=True)


def main() -> None:
    found: list[str] = []
    kills = 0
    what, top = sys.argv[1], Path(sys.argv[2])
    for lines in points(top, int(sys.argv[3])) if what == "points" else races(top, int(sys.argv[3]), int(sys.argv[4])):
        found += lines
        kills += 1
    print(json.dumps({"kills": kills, "problems": found}))


if __name__ == "__main__":
    main()
