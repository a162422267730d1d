"""What internal operations are: functions from resolved inputs to resolved outputs.

An operation is deterministic: the same parameters and inputs give the same digests everywhere and
for ever. When its output for the same input changes, its version (hermetic.execution.operations)
goes up, and with it every key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.store.protocols import BlobStore


@dataclass(frozen=True, slots=True)
class Resolved:
    """An artifact with its content known: a tree's root Directory digest or a blob's digest."""

    kind: Kind
    digest: Digest
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Workbench:
    """What an operation may use: the store, and a place for files that can be made again from it
    (compressed layers)."""

    store: BlobStore
    derived: Path


Operation: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Resolved], Workbench], Mapping[str, Resolved]]
"""(params, inputs by the path of the action's Input, workbench) → outputs by name."""
