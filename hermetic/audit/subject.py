"""What people call a fetched thing: its package and version, its commit, its image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermetic.execution.records import Step, Trace

KINDS = {"debian": "package", "python": "package", "crate": "package", "oci": "base image", "git": "commit of"}
FETCHES = frozenset((*KINDS, "http"))  # mnemonics of fetches
PINS = ("sha256", "commit", "digest")


@dataclass(frozen=True, slots=True)
class Subject:
    """``kind`` such as "package"; ``name`` with its architecture or file; ``version`` may be empty."""

    kind: str
    name: str
    version: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.name, self.version) if part)


def subject_of(step: Step, trace: Trace | None) -> Subject | None:
    """The subject of a fetch, or None for another step."""
    if trace is None or not trace.subject:
        return None
    try:
        data = json.loads(trace.subject)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    kind = KINDS.get(step.mnemonic, "archive")
    name = str(data.get("package") or data.get("name") or "")
    if name:
        return Subject(kind, _qualified(name, data), str(data.get("version", "")))
    places = data.get("refs") or data.get("urls") or []
    place = str(places[0]) if isinstance(places, list) and places else step.label
    return Subject(kind, place.rpartition("/")[2] if kind == "archive" else place, "")


def _qualified(name: str, data: Mapping[str, Any]) -> str:
    """``libc6:arm64`` as Debian writes it; wheels of one version differ by their file names."""
    arch = str(data.get("arch", ""))
    if arch in ("", "all", "source"):
        return name
    return f"{name}:{arch}"


def pin_of(command: list[str]) -> str:
    """The pin in a fetch's command: its parameters are the second word."""
    try:
        params = json.loads(command[1])
        return next((f"{name} {params[name]}" for name in PINS if params.get(name)), command[1])
    except (ValueError, IndexError, TypeError, AttributeError):
        return ""
