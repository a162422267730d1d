"""The executor on a machine with limits: second tries, one run for several processes, nothing in keys."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hermetic.digest import Digest
from hermetic.execution.schedule import Budget, Claim
from hermetic.execution.schedule_flight import Flights
from hermetic.execution.schedule_grant import Grant
from hermetic.execution.schedule_ledger import Ledger
from hermetic.execution.schedule_machine import Machine, capacity, reserve
from hermetic.sandbox.spec import Ending, SandboxSpec

MIB = 1 << 20
KEY = Digest("ab" * 32, 1)


def outcomes(result: Any) -> dict[str, str]:
    return {name: done.outcome.value for name, done in result.finished.items()}


def machine(tmp_path: Path, cpus: int = 4, memory: int = 1 << 40) -> Machine:
    return Machine(Budget(cpus, memory), ledger=Ledger(tmp_path / "usage.db"), fifos=tmp_path)


def test_an_action_killed_for_memory_gets_one_more_try(world, tmp_path: Path) -> None:
    world.add("a")
    world.add("b")
    world.sandbox.endings = {"a": [Ending.OOM]}
    found = machine(tmp_path)
    result = world.build("a", "b", machine=found, keep_going=True)
    assert outcomes(result) == {"a": "built", "b": "built"}
    assert sorted(world.sandbox.ran) == ["a", "a", "b"]
    assert found.budget.free == (4, 1 << 40)
    found.close()


def test_and_no_third(world, tmp_path: Path) -> None:
    world.add("a")
    world.sandbox.endings = {"a": [Ending.OOM] * 5}
    found = machine(tmp_path)
    result = world.build("a", machine=found)
    assert outcomes(result) == {"a": "oom"}
    assert world.sandbox.ran == ["a", "a"]
    assert "want of memory" in str(result.failures[0].error)
    found.close()
    del world.sandbox.endings["a"]
    assert outcomes(world.build("a")) == {"a": "built"}  # nothing was stored


def test_what_was_killed_and_then_stopped_for_others_is_not_given_up(world, tmp_path: Path) -> None:
    """The kernel's kill is forgiven once; giving way to others is no fault, and no third go is refused for it."""
    found = machine(tmp_path)
    world.add("a")
    world.sandbox.endings = {"a": [Ending.OOM]}

    def command(spec: Any, work: Path, cancel: Any) -> int:
        cancel.squeezed = len(world.sandbox.ran) == 2
        return world.copy(spec, work, cancel)

    world.sandbox.commands["a"] = command
    assert outcomes(world.build("a", machine=found)) == {"a": "built"}
    assert world.sandbox.ran == ["a"] * 3
    found.close()


def test_what_was_stopped_for_others_runs_alone(world, tmp_path: Path) -> None:
    found = machine(tmp_path)
    running = threading.Semaphore(0)
    alone: list[int] = []

    def old(spec: Any, work: Path, cancel: Any) -> int:
        running.release()
        time.sleep(0.3)
        return copy(spec, work, cancel)

    def young(spec: Any, work: Path, cancel: Any) -> int:
        if "young" not in tried:
            tried.add("young")
            assert running.acquire(timeout=10)
            cancel.squeezed = True  # as the watcher does
            return 137
        alone.append(len(found._running))
        return copy(spec, work, cancel)

    tried: set[str] = set()
    copy = world.copy
    world.sandbox.commands |= {"old": old, "young": young}
    world.add("old")
    world.add("young")
    result = world.build("old", "young", machine=found)
    assert outcomes(result) == {"old": "built", "young": "built"}
    assert alone == [1]
    found.close()


def test_memory_claims_keep_actions_apart(world, tmp_path: Path) -> None:
    now: list[int] = []
    found = machine(tmp_path, cpus=4, memory=1000 * MIB)

    def heavy(spec: Any, work: Path, cancel: Any) -> int:
        now.append(len(found._running))
        time.sleep(0.02)
        return world.copy(spec, work, cancel)

    for name in "abcd":
        world.sandbox.commands[name] = heavy
        world.add(name, resources=(("memory", str(600 * MIB)),))
    world.build(*"abcd", jobs=4, machine=found)
    assert max(now) == 1
    found.close()


def test_of_all_tools_that_are_told_a_number_one_is_told_one_more_than_is_free(world, tmp_path: Path) -> None:
    """It cannot be told later that CPUs have become free."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/ninja").write_bytes(b"an old one")
    found = machine(tmp_path, cpus=2)

    def start(name: str) -> tuple[Grant, str]:
        """Admitted and prepared, as the executor does."""
        world.add(name)
        assert found.budget.take(1, 0)
        grant = found.start(world.actions[name], Claim(1), world.cancel)
        return grant, dict(grant.prepare(SandboxSpec(argv=("ninja",), roots=(root,))).speed)["NINJAFLAGS"]

    def end(grant: Grant) -> None:
        found.end(grant)
        found.budget.give(1, 0)

    assert found.budget.take(1, 0)  # something else runs
    first, told = start("a")
    assert told == "-j2"
    found.budget.give(1, 0)
    second, told = start("b")
    assert told == "-j1"
    end(first)
    third, told = start("c")
    assert told == "-j2"
    end(second)
    end(third)
    assert found.budget.free == (2, 1 << 40)
    fourth, told = start("d")
    assert (told, found.budget.free[0]) == ("-j2", 0)  # it has both CPUs
    end(fourth)
    found.close()


def test_nothing_the_machine_says_is_in_a_key(world, tmp_path: Path) -> None:
    keys = []
    for number, (cpus, more) in enumerate([(1, {}), (16, {"resources": (("cpu", "2"), ("memory", "99"))})]):
        world.actions.clear()
        world.add("a", **more)
        found = machine(tmp_path / str(number), cpus=cpus)
        result = world.build("a", jobs=cpus, machine=found)
        keys.append(result.finished["a"].key)
        found.close()
    assert keys[0] == keys[1]


def test_times_and_peaks_are_read_back(world, tmp_path: Path) -> None:
    world.add("a")
    found = machine(tmp_path)
    before = found.claim(world.actions["a"])
    world.build("a", machine=found)
    found.close()
    again = machine(tmp_path)
    assert again.seconds(["a"])["a"] == pytest.approx(0.1)
    assert again.claim(world.actions["a"]) != before
    again.close()


def test_capacity_is_what_the_user_says_or_what_is_free() -> None:
    assert capacity([], 512 * MIB) == 512 * MIB
    assert capacity([], 0) > 0
    assert 64 * MIB <= reserve(100 * MIB) <= reserve(1 << 50) == 2 << 30


def test_one_key_is_one_process_s(tmp_path: Path) -> None:
    ours, theirs = Flights(tmp_path / "running"), Flights(tmp_path / "running")
    assert ours.take(KEY)
    assert not theirs.take(KEY)
    assert theirs.take(Digest("cd" * 32, 1))
    free = threading.Event()
    theirs.wait("a", KEY, free.set)
    assert not free.wait(0.2)
    ours.give(KEY)
    assert free.wait(10)
    assert theirs.take(KEY)
    ours.close()
    theirs.close()


def _hold(path: str, ready: Any) -> None:
    Flights(Path(path)).take(KEY)
    ready.set()
    time.sleep(600)


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path / "running"), ready))
    process.start()
    flights = Flights(tmp_path / "running")
    try:
        assert ready.wait(60)
        assert not flights.take(KEY)
    finally:
        os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        process.join()
    assert flights.take(KEY)
    flights.close()


def test_a_store_without_locks_locks_nothing(tmp_path: Path) -> None:
    flights = Flights(tmp_path / "nowhere" / "running")
    assert flights.take(KEY)
    flights.give(KEY)
    flights.close()
