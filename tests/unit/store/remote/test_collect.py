"""Making room in a real bucket: what is used stays, and no result is ever left without its blobs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from remote_machines import KEY, Machine, Made, contents, entries, make, problems, share_clients

from hermetic import tree
from hermetic.digest import Digest
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.protocols import MissingBlob
from hermetic.store.remote import entry
from hermetic.store.remote.address import Mode, parse
from hermetic.store.remote.bucket import Bucket, Object
from hermetic.store.remote.collect import Collected, Collector, Limits
from hermetic.store.remote.frames import compress
from hermetic.store.remote.ledger import name_of
from hermetic.store.remote.protocol import RemoteError, Traffic
from hermetic.store.remote.readings import Readings
from hermetic.store.remote.tiered import TieredStore

DAY = 86400.0
SIZES = (100, 40_000, 50_000, 2 << 20)
NOW = Limits(keep=14 * DAY, grace=0.0)
PARTS = {"ac": "/hb/ac/", "cas": "/hb/cas/", "leases": "/hb/leases/", "used": "/used", "open": "/open"}


@dataclass
class AgedBucket(Bucket):
    """A real bucket some of whose objects look older. ``ages``: part of a name → seconds."""

    url: str
    ages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(parse(self.url), Traffic())

    def listing(self, prefix: str) -> Iterator[Object]:
        for one in super().listing(prefix):
            yield replace(one, time=one.time - sum(age for part, age in self.ages.items() if part in one.place))


@pytest.fixture
def url(s3, monkeypatch: pytest.MonkeyPatch) -> str:
    share_clients(monkeypatch)
    return s3.url()


def collect(url: str, limits: Limits = NOW, *, dry_run: bool = False, **ages: float) -> Collected:
    """``ages``: days, by parts of names."""
    bucket = AgedBucket(url, {PARTS.get(part, part): days * DAY for part, days in ages.items()})
    try:
        return Collector(bucket, limits, dry_run=dry_run).run()
    finally:
        bucket.close()


def written(machine: Machine, *made: Made) -> None:
    store = machine.open()
    for one in made:
        store.put_result(one.key, one.result)
    said = machine.end()
    assert f"{len(made)} written" in said[0], said


def there(url: str) -> set[str]:
    return {key.hash for key in entries(url, KEY).values()}


def blobs(url: str) -> int:
    bucket = AgedBucket(url)
    return sum(1 for _ in bucket.listing(bucket.place("cas/")))


def test_what_nobody_used_goes_with_its_blobs(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    old, new = make(writer.disk, *SIZES), make(writer.disk, *SIZES)
    written(writer, old, new)
    before = blobs(url)
    ages = {old.key.hash: 20.0, "cas": 20.0, "leases": 20.0}
    assert collect(url, dry_run=True, **ages).results == 1
    assert (there(url), blobs(url)) == ({old.key.hash, new.key.hash}, before)
    done = collect(url, **ages)
    assert (done.results, done.broken, done.waiting) == (1, 0, 0)
    assert (done.blobs, blobs(url)) == (before / 2, before / 2)
    assert there(url) == {new.key.hash}
    assert problems(url, KEY, tmp_path / "check") == []
    assert collect(url).blobs == 0


def test_a_lease_of_a_reader_keeps_what_it_used(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    used, unused = make(writer.disk, *SIZES), make(writer.disk, *SIZES)
    written(writer, used, unused)
    for lease in (False, True):
        reader = machine(url, mode=Mode.READ, lease=lease)
        assert reader.open().get_remote(used.key) is not None
        reader.end()
        done = collect(url, dry_run=not lease, ac=20.0, cas=20.0)
        assert done.results == 2 - lease
    assert there(url) == {used.key.hash}
    assert problems(url, KEY, tmp_path / "check") == []


def test_a_result_known_here_is_named_once_a_day(url: str, machine: Callable, s3_proxy: FaultProxy) -> None:
    writer = machine(s3_proxy.url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    reader = machine(s3_proxy.url)
    for count in (1, 0, 0):
        s3_proxy.seen.clear()
        store = reader.open()
        assert (store.get(made.key) or store.get_remote(made.key)) is not None
        reader.end()
        assert sum("/leases/" in one for one in s3_proxy.seen) == count


def test_a_blob_that_another_result_needs_stays(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    first = make(writer.disk, *SIZES)
    second = replace(first, key=Digest.of(b"another action with the same outputs"))
    written(writer, first)
    written(writer, second)
    done = collect(url, **{first.key.hash: 20.0, "cas": 20.0})
    assert (done.results, done.blobs) == (1, 0)
    assert problems(url, KEY, tmp_path / "check") == []


def test_the_results_used_last_share_the_size(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    made = [make(writer.disk, 3 << 20) for _ in range(4)]
    for one in made:
        written(writer, one)
    ages = {one.key.hash: 1.0 + number for number, one in enumerate(made)}
    done = collect(url, Limits(14 * DAY, size=4 << 20, grace=0.0), leases=9.0, cas=9.0, **ages)
    assert (done.results, done.blobs) == (2, 2)  # half of 3 MiB is zeros
    assert there(url) == {one.key.hash for one in made[:2]}
    assert done.left <= 4 << 20
    assert problems(url, KEY, tmp_path / "check") == []


def test_young_blobs_have_time_to_get_a_result(url: str, machine: Callable) -> None:
    writer = machine(url)
    written(writer, make(writer.disk, *SIZES))
    assert collect(url, Limits(14 * DAY), ac=20.0, leases=20.0).blobs == 0
    assert collect(url, Limits(14 * DAY), cas=2.0).blobs == 2


# --- builds while it runs -------------------------------------------------------------------------


def writing(machine: Machine) -> tuple[Machine, TieredStore, Made]:
    """A build that has written a result and not ended."""
    store, begun = machine.open(), make(machine.disk, 10)
    store.put_result(begun.key, begun.result)
    assert machine.caches[-1].uploads.wait(60)
    return machine, store, begun


def test_blobs_wait_for_the_builds_that_write(url: str, machine: Callable, tmp_path: Path) -> None:
    """The race: a build finds an old blob there, the collector finds it unused; both are right at that moment."""
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    busy, store, begun = writing(machine(url))
    first = collect(url, **{made.key.hash: 20.0, "cas": 20.0, "used": 20.0})
    assert (first.results, first.blobs, first.waiting) == (1, 0, 2)
    again = replace(made, key=Digest.of(b"the same outputs, again"))
    for data in made.files.values():
        busy.disk.put(data)
    tree.build({path: tree.File(Digest.of(data)) for path, data in made.files.items()}, busy.disk.put)
    busy.disk.put(writer.disk.read(Digest(made.result.stdout_digest.hash, made.result.stdout_digest.size_bytes)))
    store.put_result(again.key, again.result)
    assert busy.caches[-1].uploads.wait(60)
    assert collect(url, cas=20.0).waiting == 2, "it is still building"
    assert "2 written" in busy.end()[0]
    last = collect(url, cas=20.0)
    assert (last.blobs, last.waiting) == (0, 0), "a result needs them again"
    assert problems(url, KEY, tmp_path / "check") == []
    assert there(url) == {again.key.hash, begun.key.hash}


def test_who_begins_later_relies_on_nothing_condemned(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    busy, _, begun = writing(machine(url))
    assert collect(url, **{made.key.hash: 20.0, "cas": 20.0, "used": 20.0}).waiting == 2
    again = replace(made, key=Digest.of(b"the same outputs, later"))
    late = writer.open()  # it knows from before that the blobs are there
    late.put_result(again.key, again.result)
    said = "\n".join(writer.end())
    assert "1 results wait until a collector" in said
    assert "0 written" in said
    busy.end()
    assert collect(url, cas=20.0).blobs == 2
    written(writer, again)  # what it knew is forgotten
    assert problems(url, KEY, tmp_path / "check") == []
    assert there(url) == {again.key.hash, begun.key.hash}


def test_a_build_that_was_killed_is_waited_for_a_day(url: str, machine: Callable) -> None:
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    writing(machine(url))  # and never says that it ended
    ages = {made.key.hash: 20.0, "cas": 20.0}
    assert collect(url, used=20.0, **ages).waiting == 2
    assert collect(url, open=0.9, **ages).waiting == 2
    assert collect(url, open=1.1, **ages).blobs == 2


def test_a_promise_that_the_bucket_broke_is_not_passed_on(url: str, machine: Callable, tmp_path: Path) -> None:
    """A result from long ago promises blobs that are not here; they are looked for before another builds on them."""
    writer, other = machine(url), machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    assert other.open().get_remote(made.key) is not None
    other.end()
    assert collect(url, ac=20.0, cas=20.0, leases=20.0).blobs == 2
    store = other.open()
    assert store.get(made.key) is not None
    merged = replace(made, key=Digest.of(b"a merge of promised trees"))
    store.put_result(merged.key, merged.result)
    assert "0 written" in other.end()[0]
    assert there(url) == set()


def test_a_result_without_its_blobs_goes(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    bucket = AgedBucket(url)
    bucket.delete([next(iter(bucket.listing(bucket.place("cas/")))).place])
    assert problems(url, KEY, tmp_path / "broken") != []
    done = collect(url)
    assert (done.results, done.broken) == (1, 1)
    assert problems(url, KEY, tmp_path / "check") == []


def test_a_zone_with_results_of_a_newer_hb_is_left_alone(url: str, machine: Callable) -> None:
    writer = machine(url)
    written(writer, make(writer.disk, *SIZES))
    bucket = AgedBucket(url)
    envelope = KEY.sign(compress(b"of a kind nobody knows yet"), "application/vnd.hb.entry.v9+zstd")
    place = bucket.place(f"ac/main/aa/{'a' * 64}")
    assert bucket.create(place, entry.carrier(envelope, []).SerializeToString())
    orphan = bucket.place(f"cas/main/bb/{'b' * 64}")
    assert bucket.create(orphan, b"needed by the newer one, as far as we know")
    assert bucket.create(bucket.place(f"cas/pr-1/bb/{'b' * 64}"), b"needed by nobody")
    done = collect(url, cas=20.0)
    assert (done.newer, done.results, done.blobs) == ({"main"}, 0, 1)
    assert bucket.exists(place) and bucket.exists(orphan)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"not a result", b"\x0a\x03abc"])
def test_garbage_where_a_result_or_lease_belongs(url: str, machine: Callable, tmp_path: Path, data: bytes) -> None:
    """Whoever may write to a zone can put anything there; it costs them their own results only."""
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    bucket = AgedBucket(url)
    assert bucket.create(bucket.place(f"ac/pr-1/aa/{'a' * 64}"), data)
    assert bucket.create(bucket.place("leases/pr-1/x/used"), data)
    assert collect(url, cas=20.0).results == 1
    assert there(url) == {made.key.hash}
    assert problems(url, KEY, tmp_path / "check") == []


# --- from one run to the next ---------------------------------------------------------------------


class WatchedBucket(AgedBucket):
    """Only says what would be deleted and written."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.deleted: list[str] = []

    def create(self, place: str, data: bytes) -> bool:
        return True

    def delete(self, places) -> None:
        self.deleted += places


def test_a_result_is_read_once(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    written(writer, make(writer.disk, *SIZES), make(writer.disk, *SIZES))

    def read() -> int:
        bucket = AgedBucket(url)
        try:
            return Collector(bucket, NOW, readings=Readings.at(tmp_path / "readings")).run().read
        finally:
            bucket.close()

    assert (read(), read()) == (2, 0)
    written(writer, make(writer.disk, *SIZES))
    assert (read(), read()) == (1, 0)
    (tmp_path / "readings").write_bytes(b"hb-readings 1\n")
    assert (read(), read()) == (3, 0)


@pytest.mark.parametrize("seed", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_what_is_remembered_changes_no_decision(url: str, machine: Callable, tmp_path: Path, seed: int | None) -> None:
    """Random histories of builds, losses and collections: with what earlier runs read, and without."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    numbers = random.Random(seed)
    common = [numbers.randbytes(30_000) for _ in range(6)]
    disk, made = DiskStore(tmp_path / "disk"), []
    for step in range(6):
        writer = Machine(disk, url)
        for _ in range(numbers.randrange(4)):
            made.append(_of(disk, numbers.sample(common, 3)))
            writer.open().put_result(made[-1].key, made[-1].result)
        if writer.caches:
            writer.end()
        bucket = AgedBucket(url)
        if step % 3 == 2:  # a blob, or a result, is lost
            lost = list(bucket.listing(bucket.place(numbers.choice(["ac/", "cas/"]))))
            bucket.delete([one.place for one in numbers.sample(lost, min(1, len(lost)))])
        bucket.close()
        ages = {one.key.hash: numbers.choice([0.0, 20 * DAY]) for one in made} | {
            "/hb/cas/": 20 * DAY,
            "/used": 20 * DAY,
        }
        limits = Limits(14 * DAY, numbers.choice([None, 60_000]), 0.0)
        plain, remembering = WatchedBucket(url, ages), WatchedBucket(url, ages)
        first = Collector(plain, limits).run()
        second = Collector(remembering, limits, readings=Readings.at(tmp_path / "readings")).run()
        assert sorted(plain.deleted) == sorted(remembering.deleted)
        assert replace(first, read=0) == replace(second, read=0) and second.read <= first.read
        real = AgedBucket(url, ages)
        Collector(real, limits, readings=Readings.at(tmp_path / "readings")).run()
        real.close()
        assert dangling(url) == []


# --- interrupted, and side by side ----------------------------------------------------------------


def dangling(url: str) -> list[str]:
    """Results that are there without a blob they need. One that goes away or comes back while we look does not
    count, so each is looked at more than once."""
    bucket = AgedBucket(url)
    wrong = []
    for one in bucket.listing(bucket.place("ac/")):
        data = bucket.read(one.place)
        for zone, sha256 in entry.needs_of(data) if data is not None else ():
            blob = bucket.place(f"cas/{zone}/{sha256[:2]}/{sha256}")
            if all(not bucket.exists(blob) and bucket.exists(one.place) for _ in range(3)):
                wrong.append(f"{one.place} needs {sha256}")
    bucket.close()
    return wrong


class Stop(BaseException):
    """As a kill: nothing of the collector runs any more."""


class FragileBucket(AgedBucket):
    """Ends at its nth change."""

    left = 0

    def create(self, place: str, data: bytes) -> bool:
        self._tick()
        return super().create(place, data)

    def delete(self, places) -> None:
        for place in places:  # one by one: a kill may come between any two
            self._tick()
            super().delete([place])

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stop


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_interrupted_anywhere_it_leaves_a_sound_bucket(url: str, machine: Callable, tmp_path: Path, step: int) -> None:
    writer = machine(url)
    stays = make(writer.disk, *SIZES)
    written(writer, stays)
    for at in range(0, 100, step):
        goes = [make(writer.disk, 40_000, 50_000) for _ in range(2)]
        written(writer, *goes)
        bucket = FragileBucket(
            url, {one.key.hash: 20 * DAY for one in goes} | {"/hb/cas/": 20 * DAY, "/hb/leases/": 20 * DAY}
        )
        bucket.left = at
        try:
            Collector(bucket, NOW).run()
        except Stop:
            assert dangling(url) == [], at
            written(writer, make(writer.disk, 10))  # a build in between
            continue
        break
    assert at > 8
    collect(url, cas=20.0, **{one.key.hash: 20.0 for one in goes})
    assert dangling(url) == []
    assert problems(url, KEY, tmp_path / "check") == []
    assert stays.key.hash in there(url)


def test_builds_and_collectors_side_by_side(url: str, tmp_path: Path) -> None:
    """Three machines write results that share blobs, two collectors delete everything they may, at once."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    common = [random.Random(number).randbytes(1_500_000 if number % 2 else 30_000) for number in range(8)]
    over, wrong = threading.Event(), []

    def build(number: int) -> None:
        numbers = random.Random(seed + number)
        disk = DiskStore(tmp_path / f"disk{number}")
        for _ in range(8):
            machine = Machine(disk, url)
            store = machine.open()
            made = [_of(disk, numbers.sample(common, 3)) for _ in range(3)]
            for one in made:
                try:
                    if store.get_remote(one.key) is not None and contents(store, one) != one.files:
                        wrong.append("a wrong result")
                except MissingBlob:
                    pass  # it went while it was read: the build makes it again
                store.put_result(one.key, one.result)
            machine.end()
            machine.caches[-1].remote.close()

    def sweep() -> None:
        while not over.is_set():
            try:
                collect(url, Limits(keep=0.0, grace=0.0), ac=1.0, cas=1.0, used=1.0)
            except RemoteError as error:
                wrong.append(f"a collector failed: {error}")
            wrong.extend(dangling(url))

    builders = [threading.Thread(target=build, args=(number,)) for number in range(3)]
    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in (*builders, *sweepers):
        thread.start()
    for thread in builders:
        thread.join()
    over.set()
    for thread in sweepers:
        thread.join()
    assert wrong == []
    assert problems(url, KEY, tmp_path / "check") == []


def _of(disk: DiskStore, contents_: list[bytes]) -> Made:
    """A result of common blobs. Its key is that of its content: the same action on another machine."""
    files = {f"file{number}": data for number, data in enumerate(contents_)}
    root = tree.build({name: tree.File(disk.put(data)) for name, data in files.items()}, disk.put)
    result = pb.ActionResult()
    one = result.output_directories.add(path="/build/out")
    one.root_directory_digest.hash, one.root_directory_digest.size_bytes = root.hash, root.size
    return Made(Digest.of(b"key of " + root.hash.encode()), result, root, files)


def test_names_are_read_from_places() -> None:
    assert name_of(f"a/prefix/hb/cas/pr-1/aa/{'a' * 64}") == ("pr-1", "a" * 64)
    assert hb_pb2.Names(zone="x").hashes == b""


class MeanwhileBucket(AgedBucket):
    """Something else happens just before its first change of a kind. ``meanwhile``: by parts of names."""

    meanwhile: dict[str, Callable[[], object]]

    def create(self, place: str, data: bytes) -> bool:
        self._happen([place])
        return super().create(place, data)

    def delete(self, places) -> None:
        self._happen(places)
        super().delete(places)

    def _happen(self, places) -> None:
        for part in [part for part in self.meanwhile if any(part in one for one in places)]:
            self.meanwhile.pop(part)()


def slow_collector(url: str, ages: dict[str, float], **meanwhile: Callable[[], object]) -> MeanwhileBucket:
    bucket = MeanwhileBucket(url, {PARTS.get(part, part): days * DAY for part, days in ages.items()})
    bucket.meanwhile = {PARTS.get(part, f"/{part}-"): what for part, what in meanwhile.items()}
    return bucket


@pytest.mark.parametrize("published", [False, True], ids=["its own list", "an earlier list"])
def test_a_slow_collector_deletes_nothing_that_came_back(
    url: str, machine: Callable, tmp_path: Path, published: bool
) -> None:
    """Two collectors sweep one list; a build begins when the first is done, and the second is still at it."""
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    ages = {made.key.hash: 20.0, "cas": 20.0, "used": 20.0}
    if published:  # by a run that had to wait for a build, and this has ended
        busy = machine(url)
        store, begun = busy.open(), make(busy.disk, 10)
        store.put_result(begun.key, begun.result)
        assert busy.caches[-1].uploads.wait(60)
        assert collect(url, **ages).waiting == 2
        busy.end()
    again = replace(made, key=Digest.of(b"the same outputs, anew"))

    def meanwhile() -> None:
        assert collect(url, **ages).blobs == 2
        newcomer = machine(url)
        newcomer.disk = writer.disk
        store = newcomer.open()
        store.put_result(again.key, again.result)
        newcomer.end()

    slow = slow_collector(url, ages, cas=meanwhile)
    Collector(slow, NOW).run()
    assert slow.meanwhile == {}
    assert dangling(url) == []
    written(writer, replace(made, key=Digest.of(b"the same outputs, once more")))
    assert problems(url, KEY, tmp_path / "check") == []


def test_a_collector_that_comes_too_late_leaves_the_list(url: str, machine: Callable, tmp_path: Path) -> None:
    """The other one has ended before this one says that it begins; a build begins between the two."""
    writer, newcomer = machine(url), machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    ages = {made.key.hash: 20.0, "cas": 20.0, "used": 20.0}
    again = replace(made, key=Digest.of(b"the same outputs, anew"))
    begun = make(writer.disk, 10)
    newcomer.disk = writer.disk
    store = newcomer.open()

    def other() -> None:
        assert collect(url, **ages).blobs == 2
        store.put_result(begun.key, begun.result)
        assert newcomer.caches[-1].uploads.wait(60)

    def build() -> None:
        store.put_result(again.key, again.result)
        assert "2 written" in newcomer.end()[0]

    slow = slow_collector(url, ages, sweep=other, cas=build)
    Collector(slow, NOW).run()
    for what in slow.meanwhile.values():
        what()  # it deleted nothing
    assert dangling(url) == []
    assert problems(url, KEY, tmp_path / "check") == []
    assert there(url) == {begun.key.hash, again.key.hash}


def test_a_collector_killed_while_it_deletes_is_waited_for_a_day(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    ages = {made.key.hash: 20.0, "cas": 20.0, "used": 20.0}

    def killed() -> None:
        raise Stop

    with pytest.raises(Stop):
        Collector(slow_collector(url, ages, cas=killed), NOW).run()
    assert collect(url, **ages).blobs == 2, "the next run deletes what was left"
    again = replace(made, key=Digest.of(b"the same outputs, anew"))
    for days, count in ((0.0, 0), (0.9, 0), (1.1, 1)):
        assert collect(url, **{"/sweep-": days}).blobs == 0
        writer.open().put_result(again.key, again.result)
        assert f"{count} written" in writer.end()[0], "the killed one might still delete"
    assert dangling(url) == []
    assert problems(url, KEY, tmp_path / "check") == []


def test_a_collector_that_slept_deletes_nothing(url: str, machine: Callable, tmp_path: Path) -> None:
    writer = machine(url)
    made = make(writer.disk, *SIZES)
    written(writer, made)
    before = blobs(url)
    hours = iter((0.0, 21.0))
    bucket = AgedBucket(url, {made.key.hash: 20 * DAY, "/hb/cas/": 20 * DAY, "/used": 20 * DAY})
    with pytest.raises(RemoteError, match="took too long"):
        Collector(bucket, NOW, clocks=lambda: (0.0, next(hours) * 3600.0)).run()
    assert blobs(url) == before
    assert collect(url, cas=20.0, used=20.0).blobs == before
