"""``hb why``: the question put to the records. Which steps are behind a label, which were no hits, and what
each is compared with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermetic.audit.explain import NEW, Cause, Earlier, Explainer, Explanation
from hermetic.audit.pairing import View, pair
from hermetic.audit.past import Baseline, Past
from hermetic.digest import Digest
from hermetic.execution.history import ANY, TARGET, Head, step_hash
from hermetic.execution.records import Event, State, Step
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.protocols import ActionCache
from hermetic.tree import Load

HITS = ("hit-local", "hit-remote")
FAILURES = ("failed", "timeout", "oom")
MOST_OUTPUTS = 500  # results looked at to see where a cascade stopped
ABSENT = Cause("new", "not in the other build")


@dataclass(frozen=True, slots=True)
class Answer:
    """``numbers``: the steps behind the label, needs first. ``stopped``: steps that ran and made what they
    had made before. ``names``: builds that are mentioned."""

    head: Head
    label: str
    state: State
    numbers: Sequence[int]
    events: Mapping[int, Event]
    explanation: Explanation
    stopped: Sequence[int]
    against: str = ""

    def outcome(self, number: int) -> str:
        event = self.events.get(number)
        return event.outcome if event else "hit-local"

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for number in self.numbers:
            found[self.outcome(number)] = found.get(self.outcome(number), 0) + 1
        return found


def last_build_of(past: Past, label: str, workspace: str) -> Head | None:
    """The newest build of a workspace that had a target of this label."""
    name = step_hash(label, TARGET, ANY)
    here = (head for head in reversed(past.heads) if head.workspace == workspace)
    return next((head for head in here if past.history.knows(head, [name])), None)


def why(past: Past, head: Head, label: str, cache: ActionCache, load: Load, now: float | None = None) -> Answer:
    """What happened behind ``label`` in a build, each step compared with its newest earlier result. ``label``
    "": in the whole build."""
    view = past.view(head)
    numbers = _behind(view.state, label) if label else view.state.behind(range(len(view.state.steps)))
    events = past.events(head)
    ran = [n for n in numbers if n in events and events[n].outcome not in HITS]
    past.prepare([head], len(ran))
    found = past.baselines(view, ran, head)
    past.prepare({one.head.id: one.head for one in found.values()}.values(), len(ran))
    moment = time.time() if now is None else now
    wanted = {n: earlier_of(view.state.steps[n], events[n], found.get(n), past, moment) for n in ran}
    views = {one.head.id: past.view(one.head) for one in found.values()}
    explanation = Explainer(view, views, load).explain(wanted, numbers)
    keys = {n: past.view(one.head).state.steps[one.step].key for n, one in found.items()}
    stopped = _stopped(view.state, numbers, events, keys, cache)
    return Answer(head, label, view.state, numbers, events, explanation, stopped)


def why_differs(past: Past, head: Head, label: str, other: View, name: str, load: Load) -> Answer:
    """What differs behind ``label`` between a build and another one, whoever ran what."""
    view = past.view(head)
    numbers = _behind(view.state, label)
    pairs = dict(pair(view, numbers, other, range(len(other.state.steps)))[0])
    wanted: dict[int, Earlier | Cause] = {}
    for number in numbers:
        there = pairs.get(number)
        if there is None:
            wanted[number] = ABSENT
        elif other.state.steps[there].key != view.state.steps[number].key:
            wanted[number] = Earlier(name, there)
    explanation = Explainer(view, {name: other}, load).explain(wanted, numbers)
    return Answer(head, label, view.state, numbers, past.events(head), explanation, (), name)


def _behind(state: State, label: str) -> list[int]:
    return state.behind(dict.fromkeys(step for target in state.labelled(label) for step in target.steps))


def earlier_of(step: Step, event: Event, found: Baseline | None, past: Past, now: float) -> Earlier | Cause:
    """What a step that was no hit is compared with, or why there is nothing to compare."""
    if not step.key:
        if event.outcome == "skipped":
            return Cause("skipped", "not started: something it needs failed, or the build was stopped")
        return Cause("failed", event.error.splitlines()[0] if event.error else "it could not be started")
    if found is None:
        return NEW
    before = past.view(found.head).state.steps[found.step]
    if before.key != step.key:
        return Earlier(found.head.id, found.step)
    ended = past.events(found.head).get(found.step)
    if ended is not None and ended.outcome in (*FAILURES, "skipped"):
        return Cause("failed", f"{ended.outcome} in build {found.head.id}; only successes are kept")
    if event.outcome != "evicted" and past.assisted(step.key):
        return Cause("compile cache", "its result was made with the compile cache, which this build does without")
    used = found.head.time
    swept = next(((when, words) for when, words in past.history.sweeps() if when > used), None)
    if swept is not None:
        return Cause("evicted", f"evicted {ago(now - swept[0])} ({swept[1]}), last used {ago(now - used)}")
    return Cause("evicted", f"its result is no longer in the store (last used {ago(now - used)})")


def _stopped(
    state: State, numbers: Sequence[int], events: Mapping[int, Event], before: Mapping[int, str], cache: ActionCache
) -> list[int]:
    """Steps that ran again, made the same as before, and so were the last of their cascade."""
    needed = {need for number in numbers for need in state.steps[number].needs}
    found = []
    for number in [n for n in numbers if n in before and n in needed][:MOST_OUTPUTS]:
        step = state.steps[number]
        if events[number].outcome in ("built", "evicted") and step.key != before[number]:
            new, old = (cache.get(Digest(key, 0)) for key in (step.key, before[number]))
            if new is not None and old is not None and _outputs(new) == _outputs(old):
                found.append(number)
    return found


def _outputs(message: pb.ActionResult) -> list[tuple[str, str]]:
    files = [(one.path, f"{one.digest.hash} {one.is_executable}") for one in message.output_files]
    return files + [(one.path, one.root_directory_digest.hash) for one in message.output_directories]


def ago(seconds: float) -> str:
    """``3 days ago``."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now" if seconds < 5 else f"{int(seconds)} seconds ago"
