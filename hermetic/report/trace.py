"""``hb build --profile FILE``: what ran when, as a trace that Perfetto and Chrome open.

Guarantees: spans of a lane never overlap; times are microseconds since the command began; the actions of
the critical path are marked. Format: "Trace Event Format", the JSON object form.
"""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermetic.action import ActionGraph
from hermetic.analysis.codec import made_in
from hermetic.execution.outcome import BuildResult
from hermetic.execution.schedule_grant import Grant

HB, ACTIONS = 1, 2  # processes of the trace


@dataclass
class Profile:
    """Collects while a build runs; ``write`` at its end. Thread-safe."""

    began: float = field(default_factory=time.monotonic)
    grants: list[tuple[Grant, float]] = field(default_factory=list)
    counters: list[tuple[float, str, Mapping[str, float]]] = field(default_factory=list)
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ended(self, grant: Grant) -> None:
        with self._lock:
            self.grants.append((grant, time.monotonic()))

    def count(self, name: str, values: Mapping[str, float]) -> None:
        with self._lock:
            self.counters.append((time.monotonic(), name, dict(values)))

    def stage(self, name: str, since: float) -> None:
        """Something hb itself did, from ``since`` until now."""
        with self._lock:
            self.stages.append((name, since, time.monotonic()))

    def events(self, graph: ActionGraph, result: BuildResult) -> list[dict[str, Any]]:
        with self._lock:
            ends = {grant.name: end for grant, end in self.grants}
            critical = set(critical_path(graph, ends))
            found: list[dict[str, Any]] = [
                {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
                for pid, name in ((HB, "hb"), (ACTIONS, "actions"))
            ]
            found += [self._span(HB, 0, name, since, end, {}) for name, since, end in self.stages]
            for lane, grant, end in _lanes(self.grants):
                found += self._action(lane, grant, end, result, grant.name in critical)
            for at, name, values in self.counters:
                found.append({"ph": "C", "pid": HB, "name": name, "ts": self._time(at), "args": values})
            return found

    def write(self, path: Path, graph: ActionGraph, result: BuildResult) -> None:
        document = {"traceEvents": self.events(graph, result), "otherData": {"build_id": result.build_id}}
        path.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")

    def _action(self, lane: int, grant: Grant, end: float, result: BuildResult, critical: bool) -> list[dict[str, Any]]:
        done = result.finished.get(grant.name)
        said = {"outcome": done.outcome.value if done else "again", "jobs": grant.jobs, "critical": critical}
        if grant.group is not None:
            said["peak"] = grant.group.peak
        title = f"{done.action.label} {done.action.mnemonic}" if done else grant.name
        whole = self._span(ACTIONS, lane, title, grant.since, end, said)
        if critical:
            whole["cname"] = "terrible"
        marks = [*grant.phases, ("", end)]
        inside = [
            self._span(ACTIONS, lane, name, at, until, {}) for (name, at), (_, until) in itertools.pairwise(marks)
        ]
        return [whole, *inside]

    def _span(
        self, pid: int, lane: int, name: str, since: float, end: float, said: Mapping[str, Any]
    ) -> dict[str, Any]:
        start = self._time(since)
        return {
            "ph": "X", "pid": pid, "tid": lane, "name": name, "ts": start,
            "dur": max(self._time(end) - start, 0), "args": dict(said),
        }  # fmt: skip

    def _time(self, at: float) -> int:
        return round((at - self.began) * 1e6)


def critical_path(graph: ActionGraph, ends: Mapping[str, float]) -> list[str]:
    """From the action that ended last back to what each waited for last, first to last."""
    found: list[str] = []
    at = max(ends, key=lambda name: ends[name], default=None)
    while at is not None:
        found.append(at)
        needs = {made.action for one in graph.actions[at].inputs if (made := made_in(one.ref)) and made.action in ends}
        at = max(sorted(needs), key=lambda name: ends[name], default=None)
    return found[::-1]


def _lanes(grants: Sequence[tuple[Grant, float]]) -> list[tuple[int, Grant, float]]:
    """Each action on the lowest lane that is free when it starts."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    found, lanes = [], 0
    for grant, end in sorted(grants, key=lambda one: one[0].since):
        while busy and busy[0][0] <= grant.since:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            lanes += 1
            free.append(lanes)
        lane = heapq.heappop(free)
        heapq.heappush(busy, (end, lane))
        found.append((lane, grant, end))
    return found
