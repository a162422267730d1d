"""Failures as annotations of lines, in the words that GitHub Actions reads from a step's output.

Guarantees: each annotation is one line whatever is in the message or the path, and nothing in them can
become another command or another property: the five characters that separate those are written as the
runner reads them back (workflow commands, toolkit's ``command.ts``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST = 10  # annotations of one step that are shown
LONGEST = 4000  # characters of a message


@dataclass(frozen=True, slots=True)
class Annotation:
    """``path``: relative to the repository, "" when it lies in none; ``line``: 0 when unknown."""

    title: str
    message: str
    path: str = ""
    line: int = 0


def lines(annotations: Sequence[Annotation]) -> list[str]:
    """The commands; of more than are shown only the first ones."""
    return [_line(one) for one in annotations[:MOST]]


def _line(one: Annotation) -> str:
    where = {"file": one.path, "line": str(one.line) if one.path and one.line > 0 else "", "title": one.title}
    properties = ",".join(f"{name}={_property(value)}" for name, value in where.items() if value)
    return f"::error{' ' if properties else ''}{properties}::{_data(one.message[:LONGEST])}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
