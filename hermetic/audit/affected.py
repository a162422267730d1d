"""Which targets two trees of files build differently: by action key, not by who owns a file.

A target's signature is what makes its outputs: the keys of its actions, or their symbols where an input
has not been made yet (``hermetic.execution.symbolic``). A target is affected when the other tree's target
of that label has another signature. Where both trees' results are in a cache this is exact, also behind a
step that was changed and made the same as before; where a result is missing, everything behind a change
counts as affected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermetic.action import ActionGraph, TargetNode
from hermetic.analysis.codec import made_in
from hermetic.audit.explain import Cause, Earlier, Explainer, Explanation
from hermetic.audit.pairing import View, pair
from hermetic.errors import HbError
from hermetic.execution.outcome import Finished
from hermetic.execution.sources import Sources
from hermetic.tree import Load


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree of files, analysed and keyed. ``finished``: with symbols. ``view``: its pseudo record."""

    name: str
    graph: ActionGraph
    finished: Mapping[str, Finished]
    sources: Sources
    view: View

    def signature(self, target: TargetNode) -> tuple[object, ...]:
        """What makes the target's outputs. Unreadable sources make it a signature of its own."""
        outputs: list[object] = []
        for name, ref in target.outputs:
            made = made_in(ref)
            if made is not None and made.action in self.finished:
                outputs.append((name, self.finished[made.action].key, made.output, getattr(ref, "path", "")))
                continue
            try:
                resolved = self.sources.resolve(ref, {})
                outputs.append((name, str(resolved.digest), resolved.executable))
            except HbError as error:
                outputs.append((name, error.message))
        own = sorted(self.finished[one].key for one in target.actions if one in self.finished)
        return (*outputs, *own, target.layout)


@dataclass(frozen=True, slots=True)
class Affected:
    """``causes``: what differs; of a target the other tree does not have, ``new`` is set."""

    target: TargetNode
    causes: tuple[Cause, ...]
    new: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """``explanation`` is of the working tree's steps."""

    affected: Sequence[Affected]
    removed: Sequence[str]
    explanation: Explanation


def compare(now: Tree, then: Tree, load: Load) -> Difference:
    """The requested targets of ``now`` that ``then`` does not have as they are."""
    before: dict[str, list[TargetNode]] = {}
    for target in then.graph.targets.values():
        before.setdefault(target.label, []).append(target)
    explanation = _explain(now, then, load)
    rows = []
    for name in now.graph.requested:
        target = now.graph.targets[name]
        known = before.get(target.label, [])
        if not known:
            rows.append(Affected(target, (Cause("new", f"new since {then.name}"),), new=True))
        elif now.signature(target) != then.signature(_nearest(target, known)):
            rows.append(Affected(target, _causes(now, target, explanation)))
    labels = {now.graph.targets[name].label for name in now.graph.targets}
    removed = sorted({then.graph.targets[name].label for name in then.graph.requested} - labels)
    return Difference(rows, removed, explanation)


def _nearest(target: TargetNode, known: Sequence[TargetNode]) -> TargetNode:
    """The same settings, or those that share most."""
    return max(known, key=lambda one: (one.settings == target.settings, len({*one.settings} & {*target.settings})))


def _explain(now: Tree, then: Tree, load: Load) -> Explanation:
    order = now.view.state.behind(range(len(now.view.state.steps)))
    pairs = dict(pair(now.view, order, then.view, range(len(then.view.state.steps)))[0])
    wanted: dict[int, Earlier | Cause] = {}
    for number in order:
        step, there = now.view.state.steps[number], pairs.get(number)
        if there is None:
            wanted[number] = Cause("new", f"new since {then.name}")
        elif step.key != then.view.state.steps[there].key:
            wanted[number] = Earlier(then.name, there)
    return Explainer(now.view, {then.name: then.view}, load).explain(wanted, order)


def _causes(now: Tree, target: TargetNode, explanation: Explanation) -> tuple[Cause, ...]:
    """What is behind the steps of a target, or its own files when none of its steps differ."""
    found: dict[Cause, None] = {}
    for shown in now.view.state.labelled(target.label):
        for number in shown.steps:
            one = explanation.steps.get(number)
            found.update(dict.fromkeys(sorted(one.causes, key=lambda cause: cause.text) if one else ()))
    return tuple(found) or (Cause("source", f"files of {target.label} changed"),)
