"""Differences of texts for people: the words that changed, never a wall of what did not."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

MOST = 6  # changes shown
LONGEST = 160  # characters of one changed piece


def word_changes(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """``-O2 → -O3``, ``+ -g``, ``- -Wall``: which words of a command line changed."""
    found = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, list(old), list(new), autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        was, now = old[a:b], new[c:d]
        if len(was) == 1 and len(now) == 1 and "\n" in was[0] + now[0]:
            found += line_changes(was[0], now[0])
        elif len(was) == 1 and len(now) == 1 and " " in was[0] and " " in now[0]:
            found += word_changes(was[0].split(), now[0].split()) or [_arrow(was[0], now[0])]
        else:
            found.append(_arrow(" ".join(was), " ".join(now)))
    return _short(found)


def line_changes(old: str, new: str) -> list[str]:
    """The same for a script: words of the lines that changed."""
    before, after = old.splitlines(), new.splitlines()
    found: list[str] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            inside = word_changes(" ".join(before[a:b]).split(), " ".join(after[c:d]).split())
            found += inside or ["only white space"]
    return _short(found)


def json_changes(old: str, new: str) -> list[str]:
    """``layers.0.mode: 0644 → 0755``: which values of two JSON texts differ. Raises ValueError."""
    return _short(_json("", json.loads(old), json.loads(new)))


def _json(path: str, old: Any, new: Any) -> list[str]:
    if old == new:
        return []
    inner = f"{path}." if path else ""
    if isinstance(old, dict) and isinstance(new, dict):
        names = dict.fromkeys((*old, *new))
        return [
            line for name in names for line in _json(f"{inner}{name}", old.get(name, _NOTHING), new.get(name, _NOTHING))
        ]
    if isinstance(old, list) and isinstance(new, list):
        texts = [[_text(one) for one in value] for value in (old, new)]
        return [f"{path}: {change}" for change in word_changes(*texts)]
    return [f"{path}: {_arrow(_text(old), _text(new))}"]


class _Nothing:
    """A value that is not there."""


_NOTHING = _Nothing()


def _text(value: Any) -> str:
    if isinstance(value, _Nothing):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _arrow(old: str, new: str) -> str:
    if not old:
        return f"+ {clip(new)}"
    return f"{clip(old)} → {clip(new)}" if new else f"- {clip(old)}"


def clip(text: str) -> str:
    """One line of a bounded length that a terminal can show."""
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def printable(text: str) -> str:
    """A line whose control characters are shown, not obeyed: records and trees may come from elsewhere."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _short(found: list[str]) -> list[str]:
    return found if len(found) <= MOST else [*found[:MOST], f"and {len(found) - MOST} more"]
