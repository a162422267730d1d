"""What happens as memory runs out, on a clock of the test's own."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.execution.schedule_grant import Grant
from hermetic.execution.schedule_pressure import PATIENCE, Gauge, Level, Watcher, relieve

MIB = 1 << 20


@dataclass
class FakeGroup:
    now: int = 0
    peak: int = 0
    frozen: bool = False
    past: list[bool] = field(default_factory=list)

    def look(self) -> None: ...
    def oom_kills(self) -> int | None:
        return 0

    def freeze(self, on: bool) -> None:
        self.frozen = on
        self.past.append(on)

    def close(self) -> None: ...


def grants(count: int) -> list[Grant]:
    found = [Grant(threading.Event(), name=f"a{number}") for number in range(count)]
    for one in found:
        one.joined(FakeGroup())
    return found


@pytest.mark.parametrize(
    ("available", "level"),
    [
        ([900] * 6, Level.FINE),
        ([900, 800, 700, 600, 500, 400], Level.WITHDRAW),  # 0 in less than two seconds
        ([900, 880, 860, 840, 820, 800], Level.FINE),
        ([500, 480, 450, 420, 380, 340], Level.WITHDRAW),
        ([220, 210, 200, 190, 180, 170], Level.HOLD),
        ([90] * 2, Level.WITHDRAW),
        ([45] * 2, Level.FREEZE),
        ([20] * 2, Level.STOP),
    ],
)
def test_levels(available: list[int], level: Level) -> None:
    gauge = Gauge(100 * MIB)
    for number, one in enumerate(available):
        found = gauge.judge(number * 0.2, one * MIB)
    assert found is level


def test_stalls_only_confirm() -> None:
    assert Gauge(100).judge(0.0, 150, 0.5) is Level.HOLD
    assert Gauge(100).judge(0.0, 900, 0.9) is Level.FINE


def test_full_speed_comes_back_with_some_room() -> None:
    gauge = Gauge(100)
    assert gauge.judge(0.0, 80) is Level.WITHDRAW
    assert gauge.judge(0.2, 110) is Level.HOLD
    assert gauge.judge(0.4, 130) is Level.FINE


def test_freezing_that_does_not_help_becomes_stopping() -> None:
    gauge = Gauge(100)
    levels = [gauge.judge(number * 0.2, 40) for number in range(int(PATIENCE / 0.2) + 3)]
    assert levels[0] is Level.FREEZE
    assert Level.STOP in levels


def test_the_youngest_is_frozen_then_stopped_and_the_oldest_never() -> None:
    running = grants(3)
    relieve(Level.FREEZE, running)
    assert [one.group.frozen for one in running] == [False, False, True]
    relieve(Level.FREEZE, running)
    relieve(Level.FREEZE, running)
    assert [one.group.frozen for one in running] == [False, True, True]
    assert relieve(Level.STOP, running) is running[2]
    assert running[2].is_set()
    assert relieve(Level.STOP, running) is running[1]
    assert relieve(Level.STOP, running) is None
    relieve(Level.FINE, running)
    assert not running[0].group.frozen


@given(st.lists(st.sampled_from(list(Level)), max_size=30), st.integers(1, 5))
def test_something_always_gets_on(levels: list[Level], count: int) -> None:
    running = grants(count)
    for level in levels:
        relieve(level, running)
        running = [one for one in running if not one.squeezed]
        assert running
        assert not running[0].group.frozen
    relieve(Level.FINE, running)
    assert not any(one.group.frozen for one in running)


def test_a_frozen_one_that_has_become_the_oldest_is_thawed() -> None:
    running = grants(2)
    relieve(Level.FREEZE, running)
    relieve(Level.FREEZE, running[1:])
    assert not running[1].group.frozen


def test_the_watcher_looks_while_something_runs() -> None:
    seen: list[Level] = []
    enough = threading.Event()

    def act(level: Level) -> None:
        seen.append(level)
        if len(seen) == 2:
            enough.set()

    watcher = Watcher(Gauge(100), lambda: (80, 0.0), act)
    assert not seen
    watcher.busy(True)
    assert enough.wait(10)
    watcher.close()
    assert set(seen) == {Level.WITHDRAW}
