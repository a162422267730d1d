"""What a build says on stdout: one line per requested target, or JSON. Part of the command contract."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TextIO

Row = Mapping[str, str]  # label, digest, path, outcome


def print_rows(rows: Iterable[Row], as_json: bool, stdout: TextIO | None = None) -> None:
    lines = (json.dumps(row) if as_json else f"{row['label']}\t{row['digest']}\t{row['path']}" for row in rows)
    text = "".join(f"{line}\n" for line in lines)
    if text:
        print(text, end="", file=stdout)


def print_summary(
    build_id: str, wall: float, actions: int, outcomes: Mapping[str, int], stdout: TextIO | None = None
) -> None:
    summary = {"build_id": build_id, "wall_s": round(wall, 3), "actions": actions, "outcomes": dict(outcomes)}
    print(json.dumps({"summary": summary}), file=stdout)
