"""What a command did, and when: its spans, the counters beside them, and the critical path through its actions.

Guarantees: ``placed`` gives every span a lane of its track in which spans nest or are apart, whatever it is
given; an action has as many lanes as CPUs. Times are whole microseconds since the command began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hermetic.action import ActionGraph
from hermetic.analysis.codec import made_in
from hermetic.spans import Count, Span

ACTION = "action"  # the name of a span around what an action does


@dataclass(frozen=True, slots=True)
class Timeline:
    """``began``: by the monotonic clock; ``epoch``: the same moment in seconds since 1970. ``critical``:
    actions of the critical path, first to last."""

    began: float
    epoch: float
    spans: Sequence[Span]
    counts: Sequence[Count] = ()
    critical: Sequence[str] = ()

    def micros(self, at: float) -> int:
        return max(round((at - self.began) * 1e6), 0)

    def on_path(self) -> dict[int, Span]:
        """The spans of the critical path, by number: of an action that ran twice, the second."""
        latest: dict[str, Span] = {}
        for one in self.spans:
            for name in actions_of(one):
                latest[name] = one
        return {latest[name].number: latest[name] for name in self.critical if name in latest}


@dataclass(frozen=True, slots=True)
class Placed:
    span: Span
    lane: int  # of its track, from 0
    start: int
    end: int


@dataclass(slots=True)
class _Lanes:
    """Of each lane the ends of what is open in it, the innermost last."""

    open: list[list[int]] = field(default_factory=list)

    def close(self, now: int) -> None:
        for stack in self.open:
            while stack and stack[-1] <= now:
                stack.pop()

    def inside(self, lane: int, end: int) -> bool:
        return bool(self.open[lane]) and self.open[lane][-1] >= end

    def free(self, count: int) -> list[int]:
        found = [lane for lane, stack in enumerate(self.open) if not stack][:count]
        while len(found) < count:
            found.append(len(self.open))
            self.open.append([])
        return found


def placed(timeline: Timeline, track: str) -> list[Placed]:
    """The spans of a track, in the order of their beginnings."""
    chosen = [one for one in timeline.spans if one.track == track]
    times = {one.number: (timeline.micros(one.since), timeline.micros(one.until)) for one in chosen}
    order = sorted(chosen, key=lambda one: (times[one.number][0], -times[one.number][1], one.number))
    lanes, home, found = _Lanes(), dict[int, int](), list[Placed]()
    for one in order:
        start, end = times[one.number]
        lanes.close(start)
        lane = -1 if one.outer else home.get(one.parent, -1)
        taken = [lane] if lane >= 0 and lanes.inside(lane, end) else lanes.free(_width(one))
        for each in taken:
            lanes.open[each].append(end)
        home[one.number] = taken[0]
        found.append(Placed(one, taken[0], start, end))
    return found


def actions_of(span: Span) -> tuple[str, ...]:
    """Ids of the actions that a span is the running of; a fetch runs several at once."""
    one, several = span.attributes.get("action"), span.attributes.get("actions")
    return (one,) if isinstance(one, str) else several if isinstance(several, tuple) else ()


def ends(spans: Iterable[Span]) -> dict[str, float]:
    """Action → when its last run was over."""
    return {name: one.until for one in sorted(spans, key=lambda one: one.until) for name in actions_of(one)}


def critical_path(graph: ActionGraph, ended: Mapping[str, float]) -> list[str]:
    """From the action that ended last back to what each waited for last, first to last. What was a hit took
    no time, but its users waited for what it waited for."""
    found: list[str] = []
    at = max(sorted(ended), key=lambda name: ended[name], default=None)
    while at is not None:
        found.append(at)
        at = max(sorted(_before(graph, at, ended)), key=lambda name: ended[name], default=None)
    return found[::-1]


def _before(graph: ActionGraph, name: str, ended: Mapping[str, float]) -> set[str]:
    """The nearest actions behind one that took time."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(_needs(graph, name))
    while waiting:
        one = waiting.pop()
        if one in ended:
            found.add(one)
        elif one not in seen:
            seen.add(one)
            waiting += _needs(graph, one)
    return found


def _needs(graph: ActionGraph, name: str) -> Iterator[str]:
    for one in graph.actions[name].inputs if name in graph.actions else ():
        made = made_in(one.ref)
        if made is not None:
            yield made.action


def _width(span: Span) -> int:
    """The CPUs that an action was given are as many lanes."""
    cpus = span.attributes.get("cpus", 1)
    return cpus if span.name == ACTION and isinstance(cpus, int) and cpus > 1 else 1
