"""The last lines of a build. Imports nothing: a build with nothing to do prints them, too."""

from __future__ import annotations

from collections.abc import Mapping


def summary_line(word: str, outcomes: Mapping[str, int], wall: float) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in outcomes.items()) or "nothing to do"
    return f"{word}: {counts} · {wall:.1f} s"


def tests_line(count: int, passed: bool) -> str:
    return f"{count} tests, {'all passed' if passed else 'not all passed'}"
