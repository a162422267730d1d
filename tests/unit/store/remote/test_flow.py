"""Much at once, over a line that carries little: everything takes its turn, nothing runs into a time limit."""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from fault_proxy import Line, TcpProxy, tcp_proxy
from hypothesis import given
from hypothesis import strategies as st
from remote_machines import Made, contents, make

from hermetic.digest import Digest
from hermetic.store.remote.address import connect, parse
from hermetic.store.remote.cache import Download
from hermetic.store.remote.flow import LONG, PART, WIDTH, Clock, Flow, Pace, Turns
from hermetic.store.remote.protocol import MAIN, RemoteError
from hermetic.store.remote.turns import in_turn

MIB = 1 << 20


# --- turns --------------------------------------------------------------------------------------------


def test_turns_are_given_in_the_order_they_were_asked_for() -> None:
    turns, order, threads = Turns(1), [], []
    turns.take()

    def wait(number: int) -> None:
        turns.take()
        order.append(number)
        turns.give()

    for number in range(20):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    assert not turns.spare(), "who comes later does not overtake"
    turns.give()
    for thread in threads:
        thread.join()
    assert order == list(range(20))
    assert turns.spare()


@given(st.lists(st.integers(1, 6 * PART), min_size=1, max_size=24), st.integers(1, 4))
def test_transfers_of_any_size_end_and_never_exceed_the_turns(sizes: list[int], width: int) -> None:
    """Each transfer is cut into parts, as those of a bucket are."""
    turns, lock = Turns(width), threading.Lock()
    now = most = 0

    def part(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1

    def transfer(size: int) -> int:
        flow = Flow(Pace(1), turns, turns)
        with flow.sending(size) as lane:
            return len(list(in_turn(part, range(0, size, PART), WIDTH, lane.room)))

    with ThreadPoolExecutor(len(sizes)) as pool:
        assert list(pool.map(transfer, sizes)) == [-(-size // PART) for size in sizes]
    small = sum(size <= LONG for size in sizes)
    assert most <= width + small
    assert [turns.spare() for _ in range(width + 1)] == [True] * width + [False], "all are given back"


def test_one_transfer_takes_what_nobody_else_wants_and_gives_it_back() -> None:
    flow = Flow(Pace(1))
    with flow.sending(10 * PART) as lane:
        assert [lane.room(number) for number in range(WIDTH + 1)] == [True] * WIDTH + [False]
        entered = threading.Event()

        def other() -> None:
            with flow.sending(PART):
                entered.set()

        thread = threading.Thread(target=other)
        thread.start()
        while not flow._up.wanted:
            time.sleep(0.001)
        assert not entered.is_set()
        assert not lane.room(WIDTH - 1), "one part of ours ended: its turn goes to who waits"
        assert entered.wait(10)
        thread.join()
    with flow.receiving(PART), flow.sending(0):
        pass  # directions, and what is small, are not in each other's way


def test_a_transfer_that_is_interrupted_while_it_waits_loses_no_turn() -> None:
    turns = Turns(1)
    turns.take()

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            turns.give()  # it is handed over in the very moment
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "Event", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            turns.take()
    assert turns.spare()


# --- time ---------------------------------------------------------------------------------------------


def test_time_follows_from_one_number() -> None:
    pace = Pace(5.0)
    assert pace.reply(0) == 5
    assert pace.reply(PART) == pace.reply(100 * PART) == 30
    assert pace.whole(0) == 5
    assert Pace(0.5).connect == 0.5
    assert Pace(60).connect == 3


def test_only_waiting_counts() -> None:
    clock, now = Clock("it", Pace(1.0)), time.monotonic()
    clock.came(1, now)
    clock.came(100, now - 1.9)
    with pytest.raises(RemoteError, match="too slowly"):
        clock.came(100, now - 1.9)


# --- real servers -------------------------------------------------------------------------------------


@pytest.fixture
def slow_line(request: pytest.FixtureRequest):
    """URL of an empty remote of a kind behind a line of so many bytes a second."""
    with ExitStack() as stack:

        def make_one(kind: str, rate: float) -> tuple[str, TcpProxy]:
            if kind == "s3":
                server = request.getfixturevalue("s3")
                proxy = stack.enter_context(tcp_proxy(server.endpoint.removeprefix("http://"), Line(rate)))
                return server.url(f"http://127.0.0.1:{proxy.port}") + "&", proxy
            if kind == "http":
                upstream = request.getfixturevalue("http_cache").url.removeprefix("http://")
                proxy = stack.enter_context(tcp_proxy(upstream, Line(rate)))
                return f"http://127.0.0.1:{proxy.port}/{uuid.uuid4().hex}?", proxy
            proxy = stack.enter_context(tcp_proxy(request.getfixturevalue("casd"), Line(rate)))
            return f"grpc://127.0.0.1:{proxy.port}?", proxy

        yield make_one


def there_and_back(machine: Callable, url: str, results: int, noise: int, *sizes: int) -> None:
    """Everything is written, and brought to an empty store, without a word of complaint. ``noise``: bytes that do not
    compress, of each file."""
    writer = machine(url)
    store = writer.open()
    made: list[Made] = [make(writer.disk, *sizes, seed=os.urandom(noise)) for _ in range(results)]
    for one in made:
        store.put_result(one.key, one.result)
    said = writer.end(120)
    assert f"{results} written" in said[0], said
    assert len(said) == 1, said
    reader = machine(url, download=Download.ALL)
    behind = reader.open()
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda one: behind.get_remote(one.key) is not None, made))
    said = reader.end()
    assert len(said) == 1, said
    for one in made:
        assert contents(behind, one) == one.files


@pytest.mark.parametrize("kind", ["s3", "http", "grpc"])
def test_more_at_once_than_the_line_carries_in_any_time_limit(
    slow_line: Callable, machine: Callable, kind: str
) -> None:
    """50 MiB at 20 MiB a second: all at once take four times as long as anything may be silent."""
    url, _ = slow_line(kind, 20 * MIB)
    there_and_back(machine, f"{url}timeout=0.6", 3, 5 * MIB, 14 * MIB, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "http", "grpc"])
def test_forty_large_results_over_a_slow_line(slow_line: Callable, machine: Callable, kind: str) -> None:
    url, _ = slow_line(kind, 48 * MIB)
    there_and_back(machine, f"{url}timeout=1.5", 40, 24 * MIB, 0)


@pytest.mark.parametrize("kind", ["s3", "http", "grpc"])
def test_a_large_blob_that_stops_half_way_is_given_up(slow_line: Callable, kind: str) -> None:
    """However long a stream may take, it is not waited for when it stands still."""
    url, proxy = slow_line(kind, 200 * MIB)
    remote = connect(parse(f"{url}timeout=0.3"))
    data = os.urandom(24 * MIB)
    digest = Digest.of(data)
    proxy.breath = 12 * MIB
    with pytest.raises(RemoteError):
        remote.put_blob(digest, MAIN, lambda: io.BytesIO(data))
    proxy.breath, proxy.mute = None, False
    patient = connect(parse(f"{url}timeout=20"))
    patient.put_blob(digest, MAIN, lambda: io.BytesIO(data))
    proxy.breath = 12 * MIB
    with pytest.raises(RemoteError):
        remote.get_blob(digest, MAIN, io.BytesIO())
    proxy.breath, proxy.mute = None, False
    sink = io.BytesIO()
    assert patient.get_blob(digest, MAIN, sink)
    assert sink.getvalue() == data
    remote.close()
    patient.close()
