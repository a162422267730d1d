"""Keeping the local store small: by hand (``hb cache gc``) and, where a quota is set, after a build."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermetic.cli.streams import say
from hermetic.errors import CommandLineError, StoreError
from hermetic.sizes import parse_size

if TYPE_CHECKING:
    from hermetic.store.disk import DiskStore
    from hermetic.store.gc import Limits, Swept

EVERY = 86400.0  # seconds between two automatic looks
STAMP = "tidied"


def size_of(text: str) -> int:
    """Raises CommandLineError."""
    size = parse_size(text)
    if size is None:
        raise CommandLineError(f"{text!r} is not a size", hint="write 500M or 20G")
    return size


def limits(max_size: str | None, keep_days: float | None) -> Limits:
    from hermetic.store.gc import Limits

    if keep_days is not None and keep_days < 0:
        raise CommandLineError(f"{keep_days} is not a number of days")
    return Limits(size_of(max_size) if max_size else None, keep_days * 86400.0 if keep_days is not None else None)


def collect(store: DiskStore, bounds: Limits, *, dry_run: bool = False) -> Swept:
    """Make room. Raises StoreError when another hb uses the store."""
    from hermetic.store.gc import sweep
    from hermetic.store.lease import alone
    from hermetic.store.roots import pinned

    with alone(store.root):
        trees, blobs = pinned(store)
        swept = sweep(store, bounds, time.time(), last_uses(store.root), trees, blobs, dry_run=dry_run)
    if swept.results and not dry_run:
        _note(store.root, bounds)
    return swept


def collect_compiled(root: Path, bounds: Limits, *, dry_run: bool = False) -> int:
    """Make room in the store's compile cache: what was not used for long goes. Its size has a limit of its own,
    which builds keep. Returns how many objects went, or would go."""
    from hermetic.store.compile.objects import sweep

    if bounds.age is None:
        return 0
    return sweep(root / "compile", since=time.time() - bounds.age, dry_run=dry_run)


def _note(root: Path, bounds: Limits) -> None:
    """For hb why."""
    from hermetic.execution.history import History

    words = [f"store quota {bounds.size / (1 << 30):g} GiB"] if bounds.size is not None else []
    words += [f"results unused for {bounds.age / 86400:g} days go"] if bounds.age is not None else []
    with suppress(OSError):
        History(root / "builds").note_sweep(time.time(), ", ".join(words))


def last_uses(root: Path) -> dict[str, float]:
    """Key → when a build last had it, by the history. Builds that found nothing changed touch no file."""
    from hermetic.digest import Digest
    from hermetic.execution.history import DamagedRecord, History
    from hermetic.store.assisted import assisted_key

    history = History(root / "builds")
    by_state: dict[str, tuple[float, Any]] = {}
    for head in history.heads():
        by_state[head.state] = (head.time + head.wall, head)  # heads come oldest first
    used: dict[str, float] = {}
    for when, head in by_state.values():
        with suppress(DamagedRecord):
            for step in history.state(head).steps:
                for key in (step.key, assisted_key(Digest(step.key, 0)).hash):
                    used[key] = max(used.get(key, 0.0), when)
    return used


def after_build(store: DiskStore, table: Mapping[str, Any]) -> None:
    """Keep the quota of [tool.hb.cache], once a day, when nobody else uses the store."""
    if not table.get("max_size") and not table.get("keep_days"):
        return
    stamp = store.root / STAMP
    with suppress(OSError):
        if time.time() - stamp.stat().st_mtime < EVERY:
            return
    bounds = limits(str(table.get("max_size") or ""), table.get("keep_days") or None)
    try:
        swept = collect(store, bounds)
        collect_compiled(store.root, bounds)
        stamp.touch()
    except (StoreError, OSError):
        return
    if swept.results or swept.blobs:
        say(f"hb: the store was over its limits: {described(swept)}")


def described(swept: Swept, would: str = "removed") -> str:
    return (
        f"{would} {swept.results} results, {swept.blobs} blobs and {swept.trees} staged trees, "
        f"{swept.size / 1e6:.1f} MB; {swept.left / 1e6:.1f} MB of results stay"
    )
