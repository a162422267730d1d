"""Earlier builds as something to compare with: which one knows a step, and what made a key then.

Guarantees: the earlier result of a step is the newest one before the build in question, of the same
workspace and settings first; nothing is unpacked that is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hermetic.audit.pairing import View, pair
from hermetic.digest import Digest
from hermetic.execution.history import ANY, DamagedRecord, Head, History, step_hash
from hermetic.execution.records import Event, State, Trace
from hermetic.proto import hb_pb2
from hermetic.store.assisted import assisted_key
from hermetic.store.protocols import ActionCache

MOST_STATES = 12  # unpacked in search of a step: one that a dozen states of its target lack is new
MANY = 300  # keys: beyond this the records, each read as a whole, are faster than the cache


@dataclass(frozen=True, slots=True)
class Baseline:
    """The earlier result of a step: the build, and the step's number in it."""

    head: Head
    step: int


class Past:
    """``history`` and the traces of results in ``cache``. ``heads``: what may be compared with, oldest first."""

    def __init__(self, history: History, cache: ActionCache, heads: Sequence[Head] | None = None) -> None:
        self.history = history
        self.heads = list(history.heads() if heads is None else heads)
        self._cache = cache
        self._traces: dict[str, Trace | None] = {}
        self._raw: dict[str, str] = {}
        self._read: set[str] = set()

    def view(self, head: Head) -> View:
        """Raises DamagedRecord."""
        return View(self.history.state(head), self.trace)

    def events(self, head: Head) -> Mapping[int, Event]:
        try:
            return {event.step: event for event in self.history.events(head)}
        except DamagedRecord:
            return {}

    def trace(self, key: str) -> Trace | None:
        """What made a key: from a record when one is open, else from the result, else from the records."""
        if key not in self._traces:
            self._traces[key] = self._opened(key) or self._cached(key) or self._recorded(key)
        return self._traces[key]

    def assisted(self, key: str) -> bool:
        """Whether there is a result that was made with a compile cache."""
        return self._cache.get(assisted_key(Digest(key, 0))) is not None

    def prepare(self, heads: Iterable[Head], keys: int) -> None:
        """Many traces will be asked for: read these builds' records as a whole first."""
        for head in heads if keys > MANY else ():
            self._open(head)

    def _cached(self, key: str) -> Trace | None:
        message = self._cache.get(Digest(key, 0)) if key else None
        for one in message.execution_metadata.auxiliary_metadata if message is not None else ():
            trace = hb_pb2.KeyTrace()
            if one.Unpack(trace):
                return Trace.of(trace)
        return None

    def _opened(self, key: str) -> Trace | None:
        return Trace.decode(self._raw[key]) if key in self._raw else None

    def _recorded(self, key: str) -> Trace | None:
        for head in reversed(self.heads) if key else ():
            if head.id not in self._read and set(head.outcomes) - {"hit-local"}:
                self._open(head)
                if key in self._raw:
                    break
        return self._opened(key)

    def _open(self, head: Head) -> None:
        self._read.add(head.id)
        with suppress(DamagedRecord):
            self._raw.update(self.history.traces(head))

    # --- earlier results ------------------------------------------------------------------------

    def baselines(self, now: View, numbers: Iterable[int], before: Head) -> dict[int, Baseline]:
        """For each step its newest earlier result; steps nobody knows are absent."""
        older = [head for head in reversed(self.heads) if (head.time, head.id) < (before.time, before.id)]
        here = [head for head in older if head.workspace == before.workspace]
        elsewhere = [head for head in older if head.workspace != before.workspace]
        found: dict[int, Baseline] = {}
        left = set(numbers)
        for settings in (False, True):
            for heads in (here, elsewhere):
                looked: set[str] = set()
                for head in heads:
                    if left and head.state not in looked and len(looked) < MOST_STATES:
                        looked |= self._look(now, left, head, settings, found)
        return found

    def _look(self, now: View, left: set[int], head: Head, any_settings: bool, found: dict[int, Baseline]) -> set[str]:
        """Returns the name of the state when it had to be unpacked."""
        steps = now.state.steps
        names = {(one.label, one.mnemonic, ANY if any_settings else one.settings) for one in (steps[n] for n in left)}
        if not self.history.knows(head, [step_hash(*name) for name in names]):
            return set()
        with suppress(DamagedRecord):
            old = self.view(head)
            olds = _places(old.state, names, any_settings)
            # All of a target's steps are paired, also those that were hits: they claim their own.
            news = [n for n, one in enumerate(steps) if (one[0], one[1], ANY if any_settings else one[2]) in names]
            for number, other in pair(now, news, old, olds)[0]:
                if number in left:
                    found[number] = Baseline(head, other)
                    left.discard(number)
        return {head.state}


def _places(state: State, names: set[tuple[str, str, str]], any_settings: bool) -> list[int]:
    """The steps of these names that had a key."""
    return [
        number
        for number, one in enumerate(state.steps)
        if one.key and (one.label, one.mnemonic, ANY if any_settings else one.settings) in names
    ]
