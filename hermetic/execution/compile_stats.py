"""What a compile cache says of its work, read from a file that the sandbox could write whatever it liked to.

The file holds what ``sccache --show-stats --stats-format json`` prints, or, when there was no server, a line
that says why.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hermetic.proto import hb_pb2

NAME = "hb-compile-cache"  # in the sandbox's /tmp
LARGEST = 1 << 20  # bytes
REASONS = 50  # different ones that are kept
LONGEST = 200  # characters of a reason
MOST = 1 << 53


def read(path: Path) -> tuple[hb_pb2.CompileCache | None, str]:
    """The numbers, or None and why there are none."""
    text = _text(path)
    try:
        stats = json.loads(text)["stats"]
        if not isinstance(stats, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, next((line.strip() for line in text.splitlines() if "error" in line), "it did not start")[:LONGEST]
    return _counted(stats), ""


def _counted(stats: Mapping[str, Any]) -> hb_pb2.CompileCache:
    found = hb_pb2.CompileCache(
        requests=_number(stats.get("compile_requests")),
        hits=_sum(stats.get("cache_hits")),
        misses=_sum(stats.get("cache_misses")),
        errors=_sum(stats.get("cache_errors"))
        + sum(_number(stats.get(name)) for name in ("cache_timeouts", "cache_read_errors", "cache_write_errors")),
    )
    reasons = stats.get("not_cached")
    for reason, count in list(reasons.items())[:REASONS] if isinstance(reasons, dict) else ():
        found.uncached[_plain(reason)] += _number(count)
    for name in ("requests_unsupported_compiler", "requests_not_compile", "non_cacheable_compilations"):
        if count := _number(stats.get(name)):
            found.uncached[name.removeprefix("requests_").replace("_", " ")] += count
    return found


def _sum(counts: Any) -> int:
    """Of a table by language."""
    table = counts.get("counts") if isinstance(counts, dict) else None
    return min(sum(map(_number, table.values())), MOST) if isinstance(table, dict) else 0


def _number(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= MOST else 0


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)[:LONGEST]


def _text(path: Path) -> str:
    """A regular file's beginning; "" for anything else. No link is followed, and no FIFO waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return ""
        return os.read(handle, LARGEST).decode("utf-8", "replace")
    finally:
        os.close(handle)
