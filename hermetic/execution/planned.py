"""What a build has to do: the actions behind what was requested, what waits for what, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from hermetic.action import ActionGraph
from hermetic.analysis.codec import made_in, needs_of
from hermetic.execution.schedule_order import first_guess, guesses, mnemonic_of, rests
from hermetic.execution.state import Earlier, State

Seconds = Callable[[Collection[str]], Mapping[str, float]]  # of actions whose steps ran before


def planned(graph: ActionGraph, earlier: Earlier, seconds: Seconds) -> State:
    """Nothing is started. Actions outside ``earlier``'s part of the graph take no part."""
    state = State(made=dict(earlier.known))
    given = {action for action, _ in earlier.known}
    pending = [
        made.action
        for name in graph.requested
        for _, ref in graph.targets[name].outputs
        if (made := made_in(ref)) is not None
    ]
    while pending:
        action_id = pending.pop()
        if action_id in state.waiting or action_id in given:
            continue
        needs = _needs(graph, earlier, action_id) - given
        state.waiting[action_id] = set(needs)
        for need in needs:
            state.users.setdefault(need, []).append(action_id)
        pending += needs

    def guess(action_id: str) -> float:
        """Actions of a remembered graph are not read for a guess."""
        return 0.0 if action_id in earlier.needs else first_guess(graph.actions[action_id])

    state.seconds = guesses(state.waiting, seconds(state.waiting), mnemonic_of, guess)
    state.rest = rests(state.seconds, state.users, state.waiting)
    return state


def _needs(graph: ActionGraph, earlier: Earlier, action_id: str) -> set[str]:
    if action_id in earlier.needs:
        return set(earlier.needs[action_id])
    return set(needs_of(graph.actions[action_id]))
