"""``hb lock``: from what a target wants to what it gets, one resolver per kind."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hermetic.errors import InternalError

RESOLVERS = {
    "debian": "hermetic.fetch.debian_lock:lock_debian",
    "debian_source": "hermetic.fetch.debian_lock:lock_debian_source",
    "python": "hermetic.fetch.python_lock:lock_python",
    "python_sdist": "hermetic.fetch.python_lock:lock_python_sdist",
    "cargo": "hermetic.fetch.cargo_lock:lock_cargo",
}


def resolve(kind: str, spec: Mapping[str, Any], work: Path) -> str:
    """The text of the lock. ``work`` is a scratch folder. Raises FetchError."""
    if kind not in RESOLVERS:
        raise InternalError(f"no resolver for locks of the kind {kind!r}")
    module, _, name = RESOLVERS[kind].partition(":")
    text: str = getattr(importlib.import_module(module), name)(spec, work)
    return text
