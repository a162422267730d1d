"""Making room: what stays, what goes, and what a kill in the middle leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from remote_machines import Made, make

from hermetic.digest import Digest
from hermetic.errors import StoreError
from hermetic.store.disk import DiskStore
from hermetic.store.gc import Limits, sweep
from hermetic.store.lease import alone, in_use
from hermetic.store.protocols import MissingBlob
from hermetic.store.roots import pinned, register
from hermetic.store.stage import DiskStage
from hermetic.store.verify import verify

DAY = 86400.0
NOW = 1_800_000_000.0


def aged(store: DiskStore, days: float, *sizes: int) -> Made:
    """A result last used some days ago."""
    made = make(store, *sizes)
    store.put_result(made.key, made.result)
    os.utime(store.root / "ac" / made.key.hash[:2] / made.key.hash, (NOW - days * DAY,) * 2)
    return made


def whole(store: DiskStore, made: Made) -> bool:
    try:
        return store.get(made.key) is not None and all(
            store.read(Digest.of(data)) == data for data in made.files.values()
        )
    except MissingBlob:
        return False


def test_what_was_not_used_for_long_goes_with_its_blobs(store: DiskStore) -> None:
    old, new = aged(store, 30, 1000, 2000), aged(store, 3, 1000)
    before = len(list((store.root / "cas").glob("*/*")))
    swept = sweep(store, Limits(age=14 * DAY), NOW, {})
    assert (whole(store, old), whole(store, new)) == (False, True)
    assert swept.results == 1
    assert len(list((store.root / "cas").glob("*/*"))) == before - swept.blobs
    assert verify(store).good


def test_the_least_recently_used_go_first(store: DiskStore) -> None:
    made = [aged(store, days, 100_000) for days in (5, 1, 3, 2, 4)]
    sweep(store, Limits(size=250_000), NOW, {})
    assert [whole(store, one) for one in made] == [False, True, False, True, False]


def test_a_use_that_the_history_knows_counts(store: DiskStore) -> None:
    one, other = aged(store, 30, 1000), aged(store, 30, 1000)
    sweep(store, Limits(age=14 * DAY), NOW, {one.key.hash: NOW - DAY})
    assert (whole(store, one), whole(store, other)) == (True, False)


def test_shared_blobs_stay_for_the_result_that_stays(store: DiskStore) -> None:
    one = aged(store, 30, 5000)
    two = aged(store, 1, 5000)
    two.result.output_directories[0].root_directory_digest.CopyFrom(
        one.result.output_directories[0].root_directory_digest
    )
    store.put_result(two.key, two.result)
    os.utime(store.root / "ac" / two.key.hash[:2] / two.key.hash, (NOW, NOW))
    sweep(store, Limits(age=14 * DAY), NOW, {})
    assert all(store.read(Digest.of(data)) for data in one.files.values())


def test_what_hb_out_shows_stays(store: DiskStore, tmp_path: Path) -> None:
    shown, hidden = aged(store, 99, 3000), aged(store, 99, 3000)
    out = tmp_path / "ws" / "hb-out"
    (out / "pkg").mkdir(parents=True)
    for made, name in ((shown, "shown"), (hidden, "hidden")):
        (out / "pkg" / name).symlink_to(DiskStage(store).tree(made.root))
    register(store.root, out)
    (out / "pkg" / "hidden").unlink()
    trees, blobs = pinned(store)
    swept = sweep(store, Limits(age=DAY), NOW, {}, trees, blobs)
    assert swept.trees == 1
    assert {path.name: path.read_bytes() for path in (out / "pkg" / "shown").rglob("file*")} == {
        name.rpartition("/")[2]: data for name, data in shown.files.items()
    }
    assert not any(store.has(Digest.of(data)) for data in hidden.files.values())


def test_a_removed_result_leaves_a_word(store: DiskStore) -> None:
    old = aged(store, 30, 10)
    sweep(store, Limits(age=DAY), NOW, {})
    assert store.was_evicted(old.key)
    assert not store.was_evicted(old.key), "it is said once"


def test_a_dry_run_changes_nothing(store: DiskStore) -> None:
    old = aged(store, 30, 10)
    before = sorted(store.root.rglob("*"))
    assert sweep(store, Limits(age=DAY), NOW, {}, dry_run=True).results == 1
    assert sorted(store.root.rglob("*")) == before
    assert whole(store, old)


def test_nothing_is_removed_while_somebody_builds(store: DiskStore) -> None:
    with in_use(store.root), pytest.raises(StoreError, match="in use"), alone(store.root):
        raise AssertionError("two owners")
    with alone(store.root):
        pass


def test_the_lock_of_a_killed_process_is_gone(store: DiskStore) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom hermetic.store.lease import in_use\n"
        f"with in_use(Path({str(store.root)!r})):\n    print('in', flush=True)\n    time.sleep(60)\n"
    )
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"in\n"
        with pytest.raises(StoreError), alone(store.root):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with alone(store.root):
        pass


SWEEP = """
import os, sys
from pathlib import Path
from hermetic.store.disk import DiskStore
from hermetic.store.gc import Limits, sweep

left = int(sys.argv[2])
unlink = os.unlink
def dying(event, arguments):
    global left
    if event in ("os.remove", "os.rename"):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(dying)
sweep(DiskStore(Path(sys.argv[1])), Limits(age=86400.0), float(sys.argv[3]), {})
"""


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 11])
def test_killed_at_any_point_it_leaves_a_sound_store(store: DiskStore, steps: int) -> None:
    olds = [aged(store, 30, 100, 200) for _ in range(3)]
    new = aged(store, 0, 100)
    for one in (*olds, new):
        DiskStage(store).tree(one.root)
    root = str(Path(__file__).parents[3])
    subprocess.run(
        [sys.executable, "-c", SWEEP, str(store.root), str(steps), str(NOW)],
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    found = verify(store)
    assert found.good or not any((found.rotten, found.broken, found.incomplete)), found
    assert whole(store, new)
    for one in olds:
        assert store.get(one.key) is None or whole(store, one)
    sweep(store, Limits(age=DAY), NOW, {})
    assert verify(store).good
    assert not any(store.has(Digest.of(data)) for one in olds for data in one.files.values())


# --- verify ---------------------------------------------------------------------------------------


def rot(path: Path) -> None:
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_bit_rot_is_found_and_set_aside(store: DiskStore) -> None:
    good, bad = aged(store, 0, 500), aged(store, 0, 500, 600)
    staged = DiskStage(store).tree(bad.root)
    DiskStage(store).tree(good.root)
    digest = Digest.of(bad.files["dir1/file1"])
    rot(store.root / "cas" / digest.hash[:2] / digest.hash)
    found = verify(store)
    assert [path.name for path in found.rotten] == [digest.hash]
    assert found.trees == [staged], "its file is a link of the rotten one"
    assert verify(store).rotten, "looking changes nothing"
    verify(store, repair=True)
    assert verify(store).good
    assert whole(store, good)
    assert not staged.exists()
    assert [path.name for path in (store.root / "quarantine").iterdir()] == [f"cas-{digest.hash}"]


def test_torn_results_and_results_without_their_blobs_go(store: DiskStore) -> None:
    torn, lacking = aged(store, 0, 10), aged(store, 0, 10)
    (store.root / "ac" / torn.key.hash[:2] / torn.key.hash).write_bytes(b"\xff\xff\xff")
    (store.root / "cas" / lacking.root.hash[:2] / lacking.root.hash).unlink()
    found = verify(store)
    assert [path.name for path in found.broken] == [torn.key.hash]
    assert [path.name for path in found.incomplete] == [lacking.key.hash]
    verify(store, repair=True)
    assert verify(store).good


def test_ten_thousand_results_take_no_time_worth_naming(store: DiskStore) -> None:
    """Closures are shared: the same tree behind every result is walked once."""
    made = make(store, *[10] * 200)
    for number in range(2000):
        store.put_result(Digest.of(str(number).encode()), made.result)
    reads = []
    original = store.read
    store.read = lambda digest: reads.append(digest) or original(digest)  # type: ignore[method-assign]
    sweep(store, Limits(age=DAY), time.time(), {})
    assert len(reads) <= 201
