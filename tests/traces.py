"""A strict reader of traces: what Perfetto's importer of JSON traces silently mends is an error here."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

KINDS = {"X", "M", "C"}
NAMES = {"process_name", "thread_name", "thread_sort_index"}


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a file, checked."""
    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    assert set(document) == {"traceEvents", "displayTimeUnit"}
    return check(document["traceEvents"])


def check(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every event is whole, times are ordered integers, spans of a lane nest or are apart, lanes have names."""
    named, last = set(), 0
    lanes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for one in events:
        assert one["ph"] in KINDS and isinstance(one["name"], str) and one["name"], one
        if one["ph"] == "M":
            assert not last, "names come first"
            assert one["name"] in NAMES and isinstance(one["args"], dict), one
            named |= {(one["pid"], one["tid"])} if one["name"] == "thread_name" else set()
            continue
        assert type(one["ts"]) is int and one["ts"] >= last, one
        last = one["ts"]
        if one["ph"] == "C":
            assert one["args"] and all(type(value) in (int, float) for value in one["args"].values()), one
            continue
        assert type(one["dur"]) is int and one["dur"] >= 0, one
        lane, end = lanes[one["pid"], one["tid"]], one["ts"] + one["dur"]
        while lane and lane[-1] <= one["ts"]:
            lane.pop()
        assert not lane or end <= lane[-1], f"{one['name']} ends after what it is in"
        lane.append(end)
    assert lanes.keys() <= named, "a lane without a name"
    return events


def spans(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in events if one["ph"] == "X"]


def lane_names(events: list[dict[str, Any]]) -> dict[int, str]:
    return {one["tid"]: one["args"]["name"] for one in events if one["ph"] == "M" and one["name"] == "thread_name"}


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
