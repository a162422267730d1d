"""The pure core of the scheduler: what may never happen, whatever the graph and however wrong the claims."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_simulator import GIB, Graph, Trace, off, random_graph, simulate

from hermetic.execution.outcome import Outcome
from hermetic.execution.schedule import PASSES, Budget, Claim, Schedule, Task
from hermetic.execution.schedule_order import guesses, mnemonic_of, step_of


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 40))
    rng = random.Random(draw(st.integers(0, 1 << 30)))
    names = [f"a{number:03}" for number in range(count)]
    needs = {name: rng.sample(names[:place], min(place, rng.randint(0, 3))) for place, name in enumerate(names)}
    return Graph(
        needs,
        {name: rng.choice([0.0, 0.1, 1.0, 5.0, 30.0]) for name in names},
        {
            name: Claim(rng.choice([1, 1, 1, 2, 9]), rng.choice([0, 1, 2, 5, 20]) * GIB, rng.random() < 0.05)
            for name in names
        },
    )


@given(graphs(), st.integers(1, 8), st.integers(1, 16), st.integers(0, 5))
@settings(deadline=None, max_examples=150)
def test_never_too_much_at_once_and_everything_runs_once(graph: Graph, cpus: int, memory: int, seed: int) -> None:
    rng = random.Random(seed)
    graph = replace(graph, guesses={name: one * off(rng, 3.0) for name, one in graph.seconds.items()}, users={})
    trace = simulate(graph, cpus, memory * GIB)
    within(trace, cpus, memory * GIB)
    assert sorted(name for _, name in trace.starts) == sorted(graph.needs)
    began = {name: at for at, name in trace.starts}
    for name, needs in graph.needs.items():
        assert all(began[need] + graph.seconds[need] <= began[name] + 1e-6 for need in needs)
    assert simulate(graph, cpus, memory * GIB) == trace


def within(trace: Trace, cpus: int, memory: int) -> None:
    """What holds of every build: the budget, no starvation, and whatever was killed or stopped ends well."""
    assert trace.most_cpus <= cpus
    assert trace.most_memory <= memory
    assert trace.alone
    assert trace.most_passes <= PASSES
    assert set(trace.outcomes.values()) <= {Outcome.BUILT}
    assert max(Counter(name for _, name in trace.starts).values(), default=0) <= 3


def build_many(count: int, largest: int, seed: int) -> list[tuple[Trace, float]]:
    """Builds on machines of all sizes, times and memory wrong by up to three times either way; each with its
    time over the lower bound."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        cpus, memory = rng.choice([2, 4, 16]), 15 * GIB
        size = int(10 * (largest / 10) ** rng.random())
        graph = random_graph(rng, size, wrong=3.0, memory=memory)
        trace = simulate(graph, cpus, memory)
        within(trace, cpus, memory)
        assert sorted(trace.outcomes) == sorted(graph.needs)
        found.append((trace, trace.wall / graph.bound(cpus, memory)))
    return found


def check_quality(found: list[tuple[Trace, float]]) -> None:
    ratios = [ratio for _, ratio in found]
    assert statistics.median(ratios) <= 1.25
    assert min(ratios) >= 0.999
    assert sum(trace.killed for trace, _ in found) > 0, "nothing was killed: it shows nothing"
    assert sum(trace.squeezed for trace, _ in found) > 0, "nothing was stopped: it shows nothing"


def test_the_whole_takes_little_longer_than_it_must() -> None:
    check_quality(build_many(40, 400, seed=11))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_builds(seed: int) -> None:
    check_quality(build_many(250, 5000, seed))


def test_the_longest_way_goes_first_and_ties_go_by_name() -> None:
    schedule = Schedule(Budget(1, 0), 1)
    for name, rest in (("b", 1.0), ("a", 1.0), ("long", 9.0)):
        schedule.add(Task(name, rest=rest))
    order = []
    while (task := schedule.next(0.0)) is not None:
        order.append(task.name)
        schedule.end(task.name)
    assert order == ["long", "a", "b"]


def test_a_large_one_is_passed_only_so_often() -> None:
    schedule = Schedule(Budget(2, 10), 2)
    schedule.add(Task("small", Claim(1, 6), 0.0, 0.0))
    assert schedule.next(0.0)
    schedule.add(Task("large", Claim(1, 9), 100.0, 1.0))
    passed = 0
    for number in range(PASSES + 20):
        schedule.add(Task(f"s{number:03}", Claim(1, 3), 1.0, 0.0))
        task = schedule.next(0.0)
        if task is not None:
            passed += 1
            schedule.end(task.name)
    assert passed == PASSES
    schedule.end("small")
    assert schedule.next(1.0) == Task("large", Claim(1, 9), 100.0, 1.0)


def test_a_gap_is_filled_by_what_ends_before_there_is_room() -> None:
    schedule = Schedule(Budget(2, 10), 2)
    schedule.add(Task("runs", Claim(1, 8), 50.0, 10.0))
    assert schedule.next(0.0)
    schedule.add(Task("first", Claim(1, 10), 40.0, 1.0))
    schedule.add(Task("slow", Claim(1, 1), 30.0, 20.0))
    schedule.add(Task("quick", Claim(1, 1), 20.0, 5.0))
    task = schedule.next(0.0)
    assert task is not None and task.name == "quick"


def test_tokens_lent_to_a_jobserver_are_asked_back_for() -> None:
    budget = Budget(4, 10)
    schedule = Schedule(budget, 4)
    schedule.add(Task("make"))
    assert schedule.next(0.0)
    assert budget.take(3, 0)
    schedule.add(Task("other", Claim(1, 2)))
    assert schedule.next(0.0) is None
    assert schedule.owed == (1, 2)
    budget.give(1, 0)
    assert schedule.next(0.0) is not None
    assert schedule.owed == (0, 0)


def test_what_is_unknown_is_guessed_from_its_kind_then_from_its_size() -> None:
    found = guesses(["//:a#C-1", "//:b#C-2", "//:c#D-3"], {"//:a#C-1": 4.0}, mnemonic_of, lambda name: 7.0)
    assert found == {"//:a#C-1": 4.0, "//:b#C-2": 4.0, "//:c#D-3": 7.0}
    assert step_of("//x-y:a-b#C-0123") == "//x-y:a-b#C"
    assert step_of("plain") == "plain"
