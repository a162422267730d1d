"""What is remembered of a build: its steps, how each ended, and what made the keys. Plain values.

A ``State`` says what a build's graph looked like and which key every step had: two builds that found
everything the same have equal states. ``Event`` and ``Trace`` are kept of steps that were no local hits. The
JSON forms are lists, because a build may have ten thousand steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from hermetic.execution.compile_counts import Counts
    from hermetic.proto import hb_pb2


EXECUTABLE = " x"  # in a trace, after the digest of a file that may be executed
SYMBOL = "~"  # begins what stands for a key or a digest that is not known yet


class Step(NamedTuple):
    """An action of a build. ``settings``: ``name=value,…``. ``key``: "" when it never got one.
    ``needs``: places in ``State.steps`` of those whose outputs it takes."""

    label: str
    mnemonic: str
    settings: str
    key: str
    needs: Sequence[int]

    @property
    def title(self) -> str:
        return f"{self.label} {self.mnemonic}"


class Shown(NamedTuple):
    """A target of a build. ``steps``: those that make its outputs, first output first, then its others."""

    label: str
    settings: str
    layout: str
    steps: Sequence[int]


class Entry(NamedTuple):
    """One leaf of a key, see ``hb.proto``. ``source`` is empty for what is no input."""

    name: str
    digest: str
    source: str = ""


class Trace(NamedTuple):
    """What made a key. ``command``: digest of the Command message; ``subject``: JSON naming a fetch."""

    command: str
    subject: str
    rows: Sequence[Sequence[str]]  # the fields of entries; most are never looked at one by one

    @property
    def entries(self) -> Sequence[Entry]:
        return tuple(map(Entry._make, self.rows))

    @staticmethod
    def of(message: hb_pb2.KeyTrace) -> Trace:
        rows = [[one.name, one.digest, one.source] for one in message.entries]
        return Trace(message.command, message.subject, rows)

    def encode(self) -> str:
        return json.dumps(self, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def decode(text: str) -> Trace:
        return Trace._make(json.loads(text))


class Event(NamedTuple):
    """How a step that was no local hit ended. ``stdout`` and ``stderr``: digests of its logs, or ""."""

    step: int
    outcome: str
    wall: float
    stdout: str
    stderr: str
    error: str


@dataclass(frozen=True, slots=True)
class State:
    """``files``: path → SHA-256 of what loading read."""

    steps: Sequence[Step] = ()
    targets: Sequence[Shown] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def to_object(self) -> dict[str, Any]:
        return {"steps": self.steps, "targets": self.targets, "files": dict(self.files)}

    @staticmethod
    def from_object(data: Mapping[str, Any]) -> State:
        return State(tuple(map(Step._make, data["steps"])), tuple(map(Shown._make, data["targets"])), data["files"])

    def behind(self, tops: Iterable[int]) -> list[int]:
        """The steps ``tops`` depend on, and these, users after what they need."""
        found: dict[int, None] = {}
        waiting = [(one, False) for one in tops]
        while waiting:
            one, entered = waiting.pop()
            if entered:
                found.setdefault(one)
            elif one not in found:
                waiting.append((one, True))
                waiting += [(need, False) for need in self.steps[one].needs if need not in found]
        return list(found)

    def labelled(self, label: str) -> list[Shown]:
        return [one for one in self.targets if one.label == label]


@dataclass(frozen=True, slots=True)
class Record:
    """A whole build: what the history keeps of it beside its head."""

    state: State
    events: Sequence[Event] = ()
    traces: Mapping[str, Trace] = field(default_factory=dict)
    compiled: Mapping[int, Counts] = field(default_factory=dict)  # step → what its compile cache did
