"""How far each action is from the end of the build: what the schedule's order is made of.

Guarantees: an action's rest is its own time and the longest rest of those that wait for it, so along any
path it falls; an action whose time is unknown is guessed from others of its kind, else from the size of
what it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from hermetic.action import Action, Mode, SourceTree

# Seconds of an action nothing is known of, before the size of what it reads is added.
FIRST_GUESS = {Mode.COMMAND: 2.0, Mode.FETCH: 1.0, Mode.INTERNAL: 0.05}
PER_FILE = 0.02  # seconds a command takes for each source file


def rests(
    seconds: Mapping[str, float], users: Mapping[str, Sequence[str]], needs: Mapping[str, Collection[str]]
) -> dict[str, float]:
    """Action → seconds from its start to the end of the longest way. ``users`` and ``needs`` may name
    actions that are not in ``seconds``: they take part in no build."""
    left = {name: sum(user in seconds for user in users.get(name, ())) for name in seconds}
    ready = [name for name, count in left.items() if not count]
    found: dict[str, float] = {}
    while ready:
        name = ready.pop()
        found[name] = seconds[name] + max((found[one] for one in users.get(name, ()) if one in found), default=0.0)
        for need in needs.get(name, ()):
            if need in left:
                left[need] -= 1
                if not left[need]:
                    ready.append(need)
    return found


def guesses(
    names: Collection[str], known: Mapping[str, float], kind: Callable[[str], str], first: Callable[[str], float]
) -> dict[str, float]:
    """Action → seconds: what is known, else the mean of its ``kind``, else the ``first`` guess."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for name in names:
        if name in known:
            kinds[kind(name)].append(known[name])
    means = {what: sum(values) / len(values) for what, values in kinds.items()}
    found = {}
    for name in names:
        seconds = known.get(name)
        if seconds is None:
            seconds = means.get(kind(name))
        found[name] = first(name) if seconds is None else seconds
    return found


def first_guess(action: Action) -> float:
    """Seconds for an action whose kind has never run."""
    files = sum(len(one.ref.files) for one in action.inputs if isinstance(one.ref, SourceTree))
    return FIRST_GUESS[action.mode] + (PER_FILE * files if action.mode is Mode.COMMAND else 0.0)


def step_of(action_id: str) -> str:
    """``LABEL#MNEMONIC``: an action's id without the hash of its content."""
    return action_id.rpartition("-")[0] or action_id


def mnemonic_of(action_id: str) -> str:
    return step_of(action_id).rpartition("#")[2]
