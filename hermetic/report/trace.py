"""``hb build --profile FILE``: what ran when, as a trace that Perfetto and Chrome open.

Guarantees: spans of a lane nest or are apart; events are in the order of their times, which are microseconds
since the command began; the actions of the critical path are marked, and lie in a lane of their own.
Format: "Trace Event Format", the JSON object form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hermetic.report.timeline import ACTION, Placed, Timeline, placed
from hermetic.spans import Span

HB, CPUS = 1, 2  # processes of the trace
RUN = "run"  # the track of the threads that run actions: its lanes are CPU tokens
PATH = "critical path"
FIRST = ("hb", PATH, "loader", "look", "fetch", "download", "upload")  # tracks in the order they are shown
_ABOUT = ("label", "mnemonic", "package", "operation")  # attributes that tell spans of one name apart


def write(path: Path, timeline: Timeline) -> None:
    """Raises OSError."""
    document = {"traceEvents": events(timeline), "displayTimeUnit": "ms"}
    path.write_text(json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")


def events(timeline: Timeline) -> list[dict[str, Any]]:
    on_path = timeline.on_path()
    names = [_named("process_name", HB, 0, "hb"), _named("process_name", CPUS, 0, "CPUs")]
    found: list[dict[str, Any]] = []
    lane = 1
    for track in _tracks(timeline):
        rows = _path(timeline, on_path.values()) if track == PATH else placed(timeline, track)
        process = CPUS if track == RUN else HB
        count = max((row.lane for row in rows), default=-1) + 1
        for number in range(count):
            names.append(_named("thread_name", process, lane + number, _lane_name(track, number, count)))
            names.append(_sorted(process, lane + number))
        found += [_event(process, lane + row.lane, row, row.span.number in on_path) for row in rows]
        lane += count
    for one in timeline.counts:
        found.append({"ph": "C", "pid": HB, "name": one.name, "ts": timeline.micros(one.at), "args": dict(one.values)})
    return names + sorted(found, key=lambda one: (one["ts"], -one.get("dur", 0)))


def _tracks(timeline: Timeline) -> Iterator[str]:
    there = {one.track for one in timeline.spans} | ({PATH} if timeline.critical else set())
    yield from (track for track in FIRST if track in there)
    yield from sorted(there - {*FIRST, RUN})
    yield from {RUN} & there


def _path(timeline: Timeline, spans: Iterable[Span]) -> list[Placed]:
    """One after the other: what a step waited for was over when it began."""
    found: list[Placed] = []
    for one in sorted(spans, key=lambda one: one.since):
        start = max(timeline.micros(one.since), found[-1].end if found else 0)
        found.append(Placed(one, 0, start, max(timeline.micros(one.until), start)))
    return found


def _lane_name(track: str, number: int, count: int) -> str:
    if track == RUN:
        return f"CPU {number + 1}"
    return track if count == 1 else f"{track} {number + 1}"


def _event(process: int, lane: int, row: Placed, critical: bool) -> dict[str, Any]:
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in row.span.attributes.items()}
    event: dict[str, Any] = {
        "ph": "X", "pid": process, "tid": lane, "name": title(row.span), "cat": row.span.name, "ts": row.start,
        "dur": row.end - row.start, "args": {**said, "critical": True} if critical else said,
    }  # fmt: skip
    if critical:
        event["cname"] = "terrible"  # Chrome's word for red
    return event


def title(span: Span) -> str:
    about = " ".join(str(span.attributes[name]) for name in _ABOUT if name in span.attributes)
    return about if span.name == ACTION and about else f"{span.name} {about}".rstrip()


def _named(what: str, process: int, lane: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": process, "tid": lane, "name": what, "args": {"name": name}}


def _sorted(process: int, lane: int) -> dict[str, Any]:
    return {"ph": "M", "pid": process, "tid": lane, "name": "thread_sort_index", "args": {"sort_index": lane}}
