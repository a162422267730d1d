"""Lock files: one sorted line per source, so that merges are line merges.

The first line says what kind of lock it is and carries the digest of the specification it answers, so
that a stale lock is recognised without a network. Reading is strict: a line is what ``hb lock`` writes
or an error that names file and line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hermetic.errors import FetchError, Location

CONFLICT = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def spec_digest(spec: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def header(kind: str, spec: Mapping[str, Any]) -> str:
    return f"# hb lock {kind} {spec_digest(spec)}"


def write(kind: str, spec: Mapping[str, Any], lines: Iterable[str]) -> str:
    """The text of a lock: a header, then the lines, sorted, each once."""
    return "".join(f"{line}\n" for line in [header(kind, spec), *sorted(set(lines))])


def entries(text: str, fields: int, path: str = "") -> list[list[str]]:
    """The lines of a lock, split into ``fields`` words, each line once; comments and empty lines are left
    out. ``path`` is what errors call the file. Raises FetchError."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(CONFLICT):
            hint = "keep the lines of both sides, each is a pin of its own; then run hb lock for the header"
            raise _wrong(path, number, f"is part of a merge conflict: {line!r}", hint)
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != fields:
            raise _wrong(path, number, f"has {len(words)} words, not {fields}: {line[:200]!r}", "run hb lock again")
        if not any(map(_SHA256.fullmatch, words)):
            raise _wrong(path, number, f"has no SHA-256: {line[:200]!r}", "run hb lock again")
        found[" ".join(words)] = words
    return list(found.values())


def _wrong(path: str, number: int, why: str, hint: str) -> FetchError:
    return FetchError(f"line {number} of a lock {why}", location=Location(path, number) if path else None, hint=hint)


def is_stale(text: str, kind: str, spec: Mapping[str, Any]) -> bool:
    """Whether a lock answers another specification than ``spec``."""
    return text.partition("\n")[0] != header(kind, spec)
