"""What a fetcher is asked for and what it answers. Plain frozen values.

A fetch is pinned: ``params`` holds the pin (``sha256``, ``commit`` or ``digest``) and is the whole
key. ``unkeyed`` says where to look (URLs, file names, package versions) and may change freely.
Fetchers work in batches, because the ecosystems' clients do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hermetic.errors import FetchError
from hermetic.secret import Secret


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One pinned thing. ``label`` is who wants it, for messages. ``secrets``: the names of those it needs where
    it must be asked for; ``given``: they themselves, in the worker only."""

    label: str
    params: Mapping[str, Any]
    unkeyed: Mapping[str, Any]
    secrets: tuple[str, ...] = ()
    given: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchReply:
    """A file (or, for git and oci, a directory) under the folder given to the fetcher, or why not."""

    path: Path | None
    error: FetchError | None = None


Fetcher: TypeAlias = Callable[[Sequence[FetchRequest], Path], list[FetchReply]]
"""(requests, an empty folder to work in) → replies in the same order. The caller verifies pins."""
