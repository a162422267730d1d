"""What happened: outcomes of actions, results of builds, and the reporter protocol. Plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from hermetic.action import Action
from hermetic.digest import Digest
from hermetic.errors import HbError
from hermetic.proto import hb_pb2
from hermetic.store.assisted import assisted_key
from hermetic.store.operation import Resolved


class Outcome(StrEnum):
    """What became of an action; these eight words and no others."""

    BUILT = "built"
    HIT_LOCAL = "hit-local"
    HIT_REMOTE = "hit-remote"
    SKIPPED = "skipped"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    EVICTED = "evicted"  # its result was known, but not all there any more; built again


GOOD = frozenset({Outcome.BUILT, Outcome.HIT_LOCAL, Outcome.HIT_REMOTE, Outcome.EVICTED})


@dataclass(frozen=True, slots=True)
class Finished:
    """One action's end. ``outputs`` by name when the outcome is good, else ``error``."""

    action: Action
    outcome: Outcome
    outputs: Mapping[str, Resolved] = field(default_factory=dict)
    key: str = ""
    wall: float = 0.0
    error: HbError | None = None
    stdout: str = ""  # digests of the logs, when there are any
    stderr: str = ""
    tail: str = ""  # the end of a failed action's log
    debug: str = ""  # the folder kept by --sandbox-debug
    trace: hb_pb2.KeyTrace | None = None  # of what was no hit: what made its key
    usage: hb_pb2.Usage | None = None  # what running it took; of a remote hit, what it took elsewhere
    assisted: hb_pb2.CompileCache | None = None  # set when it was made with a compile cache

    @property
    def stored(self) -> str:
        """The key that its result lies under."""
        return assisted_key(Digest(self.key, 0)).hash if self.assisted is not None else self.key


def made_by(finished: Iterable[Finished]) -> dict[tuple[str, str], Resolved]:
    """(action, output) → artifact: what references to outputs are resolved with."""
    return {(one.action.id, name): ref for one in finished for name, ref in one.outputs.items()}


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A whole build. ``finished`` by action id."""

    build_id: str
    finished: Mapping[str, Finished]
    wall: float
    interrupted: bool = False
    unchanged: int = 0  # actions known to be hits without looking at each: nothing they depend on changed

    @property
    def failures(self) -> list[Finished]:
        return [one for one in self.finished.values() if one.error is not None]

    def counts(self) -> dict[str, int]:
        """How many actions had each outcome, in the order of the words."""
        found = Counter(one.outcome for one in self.finished.values())
        found[Outcome.HIT_LOCAL] += self.unchanged
        return {word.value: found[word] for word in Outcome if found[word]}

    @property
    def actions(self) -> int:
        return len(self.finished) + self.unchanged


@dataclass(frozen=True, slots=True)
class Foresight:
    """What a build should take. ``seconds`` and ``rest`` by action: its own time, and the time from its start
    to the end of the build. ``now``: action → what it does and how many bytes it has, of what runs."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    rest: Mapping[str, float] = field(default_factory=dict)
    jobs: int = 1
    now: Callable[[], Mapping[str, tuple[str, int]]] = dict


class Reporter(Protocol):
    """Progress leaves the executor through this. Called from several threads."""

    def planned(self, total: int) -> None: ...
    def foreseen(self, foresight: Foresight) -> None: ...
    def started(self, action: Action) -> None: ...
    def finished(self, done: Finished) -> None: ...
    def note(self, text: str) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def planned(self, total: int) -> None: ...
    def foreseen(self, foresight: Foresight) -> None: ...
    def started(self, action: Action) -> None: ...
    def finished(self, done: Finished) -> None: ...
    def note(self, text: str) -> None: ...
