"""The pure core of the scheduler: what may never happen, whatever the graph and however wrong the claims."""

from __future__ import annotations

import heapq
import random
import statistics
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.execution.schedule import PASSES, Budget, Claim, Schedule, Task
from hermetic.execution.schedule_order import guesses, mnemonic_of, rests, step_of

GIB = 1 << 30


@dataclass
class Graph:
    """``needs`` by name; names are in topological order."""

    needs: dict[str, list[str]]
    seconds: dict[str, float]
    claims: dict[str, Claim]
    users: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, needs in self.needs.items():
            for need in needs:
                self.users.setdefault(need, []).append(name)


@dataclass
class Trace:
    starts: list[tuple[float, str]] = field(default_factory=list)
    wall: float = 0.0
    most_cpus: int = 0
    most_memory: int = 0
    alone: bool = True


def simulate(graph: Graph, cpus: int, memory: int, *, wrong: float = 1.0, seed: int = 0) -> Trace:
    """A build on a virtual clock. ``wrong``: factor by which predicted times may be off."""
    rng = random.Random(seed)
    guess = {name: one * rng.uniform(1 / wrong, wrong) for name, one in graph.seconds.items()}
    rest = rests(guess, graph.users, graph.needs)
    budget = Budget(cpus, memory)
    schedule = Schedule(budget, cpus)
    waiting = {name: len(needs) for name, needs in graph.needs.items()}
    running: list[tuple[float, str]] = []
    trace, now = Trace(), 0.0

    def ready(name: str) -> None:
        schedule.add(Task(name, graph.claims[name], rest[name], guess[name]))

    for name, count in waiting.items():
        if not count:
            ready(name)
    while len(schedule) or running:
        while (task := schedule.next(now)) is not None:
            trace.starts.append((now, task.name))
            heapq.heappush(running, (now + graph.seconds[task.name], task.name))
            claims = [graph.claims[name] for _, name in running]
            if any(over(claim, cpus, memory) for claim in claims):
                trace.alone = trace.alone and len(running) == 1
            else:
                trace.most_cpus = max(trace.most_cpus, sum(one.cpus for one in claims))
                trace.most_memory = max(trace.most_memory, sum(one.memory for one in claims))
        assert running, "a deadlock: actions wait and none runs"
        now, name = heapq.heappop(running)
        schedule.end(name)
        for user in graph.users.get(name, ()):
            waiting[user] -= 1
            if not waiting[user]:
                ready(user)
    assert budget.free == (budget.cpus, budget.memory)
    trace.wall = now
    return trace


def over(claim: Claim, cpus: int, memory: int) -> bool:
    return claim.exclusive or claim.cpus > cpus or claim.memory > memory


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
    trace = simulate(graph, cpus, memory * GIB, wrong=3.0, seed=seed)
    assert trace.most_cpus <= cpus
    assert trace.most_memory <= memory * GIB
    assert trace.alone
    assert sorted(name for _, name in trace.starts) == sorted(graph.needs)
    began = {name: at for at, name in trace.starts}
    for name, needs in graph.needs.items():
        assert all(began[need] + graph.seconds[need] <= began[name] for need in needs)
    assert simulate(graph, cpus, memory * GIB, wrong=3.0, seed=seed) == trace


def random_graph(rng: random.Random, count: int) -> Graph:
    names = [f"a{number:05}" for number in range(count)]
    needs, reach = {}, rng.choice([6, 12, 50])
    for place, name in enumerate(names):
        window = names[max(place - reach, 0) : place]
        needs[name] = rng.sample(window, min(len(window), rng.choice([0, 1, 1, 2, 3])))
    seconds = {name: rng.lognormvariate(0, 1.2) for name in names}
    claims = {name: Claim(1, int(rng.lognormvariate(0, 1.0) * 0.5 * GIB)) for name in names}
    return Graph(needs, seconds, claims)


def bound(graph: Graph, cpus: int, memory: int) -> float:
    """No schedule is shorter."""
    longest = max(rests(graph.seconds, graph.users, graph.needs).values())
    work = sum(graph.seconds.values()) / cpus
    area = sum(graph.seconds[name] * min(claim.memory, memory) for name, claim in graph.claims.items()) / memory
    return max(longest, work, area)


def test_the_whole_takes_little_longer_than_it_must() -> None:
    rng = random.Random(11)
    ratios = []
    for number in range(60):
        graph = random_graph(rng, rng.choice([10, 30, 100, 300]))
        cpus = rng.choice([2, 4, 16])
        trace = simulate(graph, cpus, 16 * GIB, wrong=3.0, seed=number)
        ratios.append(trace.wall / bound(graph, cpus, 16 * GIB))
    assert statistics.median(ratios) <= 1.25
    assert min(ratios) >= 0.999


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
