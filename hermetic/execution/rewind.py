"""Blobs of finished actions that are gone: what has to run again, inside the same build.

Guarantees: an action is sent back once for each loss it can name, and once when it can name none; what an earlier
build made, and is not all there any more, is for the caller to look at anew.
"""

from __future__ import annotations

from collections.abc import Callable

from hermetic.action import Action, ActionGraph
from hermetic.analysis.codec import made_in
from hermetic.execution.state import Earlier, State
from hermetic.store.operation import Resolved

Complete = Callable[[Resolved], bool]  # whether every blob of an artifact is in the store


def rewound(state: State, action: Action, graph: ActionGraph, earlier: Earlier, complete: Complete) -> list[str] | None:
    """Make the producers of an action's lost inputs run again, those of their lost inputs first (a merge made anew has
    again what its own inputs lack), and the action after them. Those that may start now; None when nothing helps."""
    waits: dict[str, set[str]] = {}
    pending = [action]
    while pending:
        one = pending.pop()
        lacking = _lacking(state, one, earlier, complete)
        if lacking is None:
            return None
        lost, coming = lacking
        waits[one.id] = lost | coming
        pending += [graph.actions[name] for name in lost if name not in waits]
    if not waits[action.id]:
        if action.id in state.retried:
            return None
        state.retried.add(action.id)
    for action_id, needs in waits.items():
        state.waiting[action_id] = needs
        if action_id != action.id:
            state.again.add(action_id)
            del state.finished[action_id]
    return [action_id for action_id, needs in waits.items() if not needs]


def _lacking(state: State, action: Action, earlier: Earlier, complete: Complete) -> tuple[set[str], set[str]] | None:
    """The producers of an action's incomplete inputs: those to run again, and those that run anyway.
    None when one of them is not ours to run."""
    lost, coming = set(), set()
    for made in filter(None, (made_in(one.ref) for one in action.inputs)):
        if (made.action, made.output) in earlier.known or made.action in state.passed:
            if not complete(state.made[made.action, made.output]):
                return None  # the earlier build's results are not all there any more
        elif made.action not in state.finished:
            coming.add(made.action)  # another user of it was here first
        elif made.action not in state.again and not complete(state.made[made.action, made.output]):
            lost.add(made.action)
    return lost, coming
