"""An explanation for people, and as JSON. Root causes first; what follows from them is counted, not told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from hermetic.audit.explain import Cause, Explained, Explanation
from hermetic.audit.why import Answer, ago
from hermetic.execution.records import State

SHOWN = 20  # lines of one list
FEW = 3  # steps named under a cause


def lines_of(answer: Answer, everything: bool = False, now: float | None = None) -> Iterator[str]:
    """The whole answer. ``everything``: also hits, and lists to their ends."""
    head = answer.head
    counts = ", ".join(f"{word} {count}" for word, count in answer.counts().items())
    when = ago((time.time() if now is None else now) - head.time)
    yield f"{answer.label} in build {head.id} ({when}): {counts or 'no actions'}"
    if answer.against:
        differ = len(answer.explanation.steps)
        yield f"against {answer.against}: {differ} of {len(answer.numbers)} actions differ"
    if not answer.numbers:
        yield "it shows files of the workspace as they are"
    elif not answer.explanation.steps:
        yield "nothing differs" if answer.against else "every action was a hit"
    yield from cause_lines(answer.explanation, answer.state, everything)
    for number in answer.stopped if everything else answer.stopped[:SHOWN]:
        yield ""
        yield f"the cascade stopped at {answer.state.steps[number].title}: it made the same as before"
    rows = answer.numbers if everything else [n for n in answer.numbers if n in answer.explanation.steps]
    if rows:
        yield ""
        yield from _limited([_row(answer, number) for number in rows], everything, "actions")


def cause_lines(explanation: Explanation, state: State, everything: bool = False, more: str = "--all") -> Iterator[str]:
    """A block per root cause, each after an empty line. ``more``: the option that shows what is left out."""
    roots = explanation.roots()
    for cause, own, behind in roots if everything else roots[:SHOWN]:
        yield ""
        yield from _cause(cause, own, behind, explanation, state, everything)
    if len(roots) > SHOWN and not everything:
        yield from ("", f"and {len(roots) - SHOWN} more causes ({more} shows them)")


def _cause(
    cause: Cause, own: Sequence[int], behind: Sequence[int], explanation: Explanation, state: State, everything: bool
) -> Iterator[str]:
    details = explanation.details.get(cause, ())
    single = details[0] if len(details) == 1 and len(details[0]) + len(cause.text) < 100 else ""
    title = f"{cause.text}: {single}" if single else cause.text
    yield f"{title}  (in {cause.through})" if cause.through else title
    if not single:
        yield from (f"  {line}" for line in _limited(list(details), everything, "differences"))
    names = list(dict.fromkeys(state.steps[number].title for number in own))
    if len(names) == 1 and cause.text.endswith(names[0]):
        names = []
    shown = names if everything else names[:FEW]
    yield from (f"    {name}" for name in shown)
    if len(names) > len(shown):
        yield f"    and {len(names) - len(shown)} more like {'it' if len(shown) == 1 else 'these'}"
    if behind:
        verb, whom = "depends" if len(behind) == 1 else "depend", "it" if len(own) < 2 else "these"
        yield f"    {'and ' if names else ''}{len(behind)} that {verb} on {whom}"


def _row(answer: Answer, number: int) -> str:
    step = answer.state.steps[number]
    line = f"{answer.outcome(number):9}  {step.title}"
    one = answer.explanation.steps.get(number)
    return f"{line}  ←  {reason(one, answer.state)}" if one else line


def reason(one: Explained, state: State) -> str:
    """A step's own causes, or the steps it follows."""
    own = [cause.text for cause in one.own]
    follows = list(dict.fromkeys(state.steps[number].title for number in one.follows))
    words = own or follows or [cause.text for cause in one.causes]
    more = f" and {len(words) - 2} more" if len(words) > 2 else ""
    return ", ".join(words[:2]) + more


def _limited(lines: Sequence[str], everything: bool, what: str) -> list[str]:
    if everything or len(lines) <= SHOWN:
        return list(lines)
    return [*lines[:SHOWN], f"and {len(lines) - SHOWN} more {what} (--all shows them)"]


def json_of(answer: Answer) -> dict[str, Any]:
    """The same as data, complete."""
    return {
        "label": answer.label,
        "build_id": answer.head.id,
        "against": answer.against or None,
        "actions": len(answer.numbers),
        "outcomes": answer.counts(),
        "causes": causes_json(answer.explanation, answer.state),
        "stopped": [answer.state.steps[number].title for number in answer.stopped],
        "steps": [_step_json(answer, number) for number in answer.numbers],
    }


def causes_json(explanation: Explanation, state: State) -> list[dict[str, Any]]:
    return [
        {
            "kind": cause.kind,
            "text": cause.text,
            "through": cause.through or None,
            "details": list(explanation.details.get(cause, ())),
            "actions": [state.steps[number].title for number in own],
            "follow": len(behind),
        }
        for cause, own, behind in explanation.roots()
    ]


def _step_json(answer: Answer, number: int) -> dict[str, Any]:
    step, event = answer.state.steps[number], answer.events.get(number)
    one = answer.explanation.steps.get(number)
    row: dict[str, Any] = {
        "label": step.label,
        "mnemonic": step.mnemonic,
        "settings": step.settings,
        "outcome": answer.outcome(number),
        "key": step.key,
        "wall_s": event.wall if event else 0.0,
    }
    if one is not None:
        row["earlier"] = one.earlier.name if one.earlier else None
        row["own"] = [cause.text for cause in one.own]
        row["causes"] = sorted(cause.text for cause in one.causes)
        row["follows"] = [answer.state.steps[n].title for n in one.follows]
    return row
