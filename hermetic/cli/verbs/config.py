"""``hb config``: the settings in force, and where each came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_common


def main(words: Sequence[str]) -> int:
    parser = Parser("config", "Show the settings in force and where each came from.", "hb config --config ngc")
    add_common(parser)
    args = parser.parse(words)
    from hermetic.cli import workspace
    from hermetic.cli.session import frontend

    found = workspace.find(Path.cwd(), args.config, args.set)
    rows = [
        (
            row["name"],
            row["value"],
            found.settings[row["name"]].origin if row["name"] in found.settings else "default",
            row["doc"],
        )
        for row in frontend(found).rows()
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for name, value, origin, doc in rows:
        print(f"{name:{widths[0]}}  {value:{widths[1]}}  {origin:{widths[2]}}  {doc}".rstrip())
    return 0
