"""What one running action was given of the machine, and how it is stopped or watched meanwhile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hermetic.execution.schedule import Claim
from hermetic.proto import hb_pb2
from hermetic.sandbox.cgroup import Group
from hermetic.sandbox.spec import Cancel, SandboxSpec
from hermetic.spans import Spans

SETS_UP, RUNS, STORES = "sets up", "runs", "stores"


@dataclass(slots=True, eq=False)
class Grant:
    """``jobs``: how many it may run, as it was told; ``extra``: CPUs beyond its claim that these have, and
    ``over``: those of them that no CPU stands for.
    ``squeezed``: it was stopped because the machine's memory ran out, and not by its own fault."""

    cancel: Cancel
    claim: Claim = field(default_factory=Claim)
    jobs: int = 1
    extra: int = 0
    over: int = 0
    name: str = ""  # the action's id
    prepare: Callable[[SandboxSpec], SandboxSpec] = lambda spec: spec  # adds what its tools are told
    since: float = 0.0  # when it started
    group: Group | None = None
    squeezed: bool = False
    phases: list[tuple[str, float]] = field(default_factory=list)  # what it does, and since when

    def phase(self, name: str) -> None:
        self.phases.append((name, time.monotonic()))

    def told(self, spans: Spans) -> None:
        """Its phases, at its end."""
        for (name, since), (_, until) in itertools.pairwise([*self.phases, ("", time.monotonic())]):
            spans.past(name, since, until)

    def is_set(self) -> bool:
        return self.squeezed or self.cancel.is_set()

    def joined(self, group: Group) -> None:
        self.group = group
        self.phase(RUNS)


def spent(usage: hb_pb2.Usage | None) -> dict[str, int | float]:
    """What an action took, as its span says it."""
    if usage is None:
        return {}
    return {
        "cpu_s": round(usage.cpu, 3),
        "peak_bytes": usage.peak,
        "read_bytes": usage.read,
        "written_bytes": usage.written,
    }
