"""The live lines of a build as text: what runs, how far it is, how long it may take.

Pure: no terminal, no clock. Guarantees: no line takes more columns than it is given, also where characters are
wide or none wide; what matters most goes last; what a log says cannot move the cursor, change a terminal's
title or clipboard, or hide the lines after it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from hermetic.sizes import show_size

ELLIPSIS = "…"
# Escape sequences of ECMA-48: control sequences, then strings up to their terminator, then the two-character ones.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Running:
    """An action that runs. ``elapsed`` and ``predicted`` in seconds, ``memory`` in bytes; 0 is not known."""

    label: str
    mnemonic: str
    elapsed: float
    predicted: float = 0.0
    phase: str = ""
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """``to_go``: seconds, 0 when nothing is to be said."""

    done: int
    total: int
    running: int
    cached: int
    waiting: int
    to_go: float = 0.0


def block(totals: Totals, running: Sequence[Running], columns: int, rows: int) -> list[str]:
    """At most ``rows`` lines, at least one. ``running``: the oldest first."""
    room = max(rows - 1, 0)
    shown = running[: room if len(running) <= room else max(room - 1, 0)]
    lines = [totals_line(totals, columns), *(running_line(one, columns) for one in shown)]
    if len(shown) < len(running) and room:
        lines.append(clipped(f"  {ELLIPSIS} and {len(running) - len(shown)} more", columns))
    return lines


def totals_line(totals: Totals, columns: int) -> str:
    """What does not fit is left out, the least telling first."""
    parts = [
        (0, f"[{totals.done}/{totals.total}] {totals.running} running"),
        (3, f"{totals.cached} cached"),
        (2, f"{totals.waiting} waiting"),
        (1, to_go(totals.to_go)),
    ]
    parts = [part for part in parts if part[1]]
    while len(parts) > 1 and width(", ".join(text for _, text in parts)) > columns:
        parts.remove(max(parts))
    return clipped(", ".join(text for _, text in parts), columns)


def to_go(seconds: float) -> str:
    if seconds < 1:
        return ""
    return f"about {seconds / 60:.0f} min to go" if seconds >= 90 else f"about {seconds:.0f} s to go"


def running_line(one: Running, columns: int) -> str:
    """Times, what, phase, memory. The label gives way first, from its beginning: its end tells most."""
    predicted = f" of {one.predicted:.0f}" if one.predicted >= 1 else ""
    times = f"  {f'{one.elapsed:6.1f} s{predicted}':15}  "
    size = f"  {show_size(one.memory)}" if one.memory else ""
    phase = f"  {one.phase}" if one.phase else ""
    name = plain(f"{one.label} {one.mnemonic}")
    for tail in (phase + size, size, ""):
        room = columns - width(times) - width(tail)
        if room >= min(width(name), 24) or not tail:
            return clipped(times + fitted(name, max(room, 1)) + tail, columns)
    raise AssertionError("the last tail is empty")


def fitted(text: str, columns: int) -> str:
    """The end of a text that is too long."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[1:]
    return ELLIPSIS + text if columns > 0 else ""


def clipped(text: str, columns: int) -> str:
    """The beginning of a text that is too long."""
    while width(text) > columns:
        text = text[:-1]
    return text


def width(text: str) -> int:
    """Columns on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(one: str) -> int:
    if unicodedata.combining(one) or unicodedata.category(one) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def plain(text: str) -> str:
    """Text of others, without what a terminal obeys. Of a line that was written over, what was left of it."""
    lines = _ESCAPES.sub("", text).split("\n")
    last = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return "\n".join("".join(one for one in line if one == "\t" or unicodedata.category(one) != "Cc") for line in last)
