"""Lock files: one sorted line per source, so that merges are line merges.

The first line says what kind of lock it is and carries the digest of the specification it answers, so
that a stale lock is recognised without a network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from hermetic.errors import FetchError

CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")


def spec_digest(spec: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def write(kind: str, spec: Mapping[str, Any], lines: Iterable[str]) -> str:
    """The text of a lock: a header, then the lines, sorted, each once."""
    return "".join(f"{line}\n" for line in [f"# hb lock {kind} {spec_digest(spec)}", *sorted(set(lines))])


def entries(text: str, fields: int) -> list[list[str]]:
    """The lines of a lock, split. FetchError names the line that is wrong."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(CONFLICT):
            raise FetchError(
                f"line {number} is a merge conflict: {line!r}", hint="keep both sides; lines are independent"
            )
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != fields:
            raise FetchError(f"line {number} has {len(words)} words, not {fields}: {line!r}", hint="run hb lock again")
        found.append(words)
    return found


def is_stale(text: str, kind: str, spec: Mapping[str, Any]) -> bool:
    """Whether a lock answers another specification than ``spec``."""
    first = text.splitlines()[0] if text else ""
    return first != f"# hb lock {kind} {spec_digest(spec)}"
