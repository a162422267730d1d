"""``hb info``: where things are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_common


def main(words: Sequence[str]) -> int:
    parser = Parser("info", "Show where things are.", "hb info")
    add_common(parser)
    args = parser.parse(words)
    from hermetic import __version__
    from hermetic.cli import workspace
    from hermetic.cli.secrets import vault_of

    found = workspace.find(Path.cwd(), args.config, args.set)
    rows = {
        "version": __version__,
        "workspace": found.root,
        "store": found.store_path(args.store),
        "output": found.root / "hb-out",
        "exec platform": found.exec_platform,
        "python": sys.executable,
    }
    given = vault_of([], found.root).sources
    rows["secrets"] = ", ".join(f"{name} (by {one.said})" for name, one in given.items()) or "none"
    for name, value in rows.items():
        print(f"{name:13}  {value}")
    return 0
