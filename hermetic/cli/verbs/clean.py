"""``hb clean``: remove what this workspace's builds left in the workspace. The store is not touched."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser


def main(words: Sequence[str]) -> int:
    parser = Parser("clean", "Remove hb-out/ and this workspace's .hb/ folder. The store stays.", "hb clean")
    parser.parse(words)
    from hermetic.cli import workspace
    from hermetic.store.stage import remove_tree

    root = workspace.find(Path.cwd()).root
    for name in ("hb-out", ".hb"):
        if (root / name).is_dir() and not (root / name).is_symlink():
            remove_tree(root / name)
            print(f"removed {root / name}", file=sys.stderr)
    return 0
