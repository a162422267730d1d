"""``hb log``: past builds, and what an action printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hermetic.cli.options import Parser, add_common
from hermetic.errors import CommandLineError


def main(words: Sequence[str]) -> int:
    parser = Parser("log", "Show past builds, one build, or an action's log.", "hb log\n  hb log ID --action //pkg:x")
    parser.add_argument("id", nargs="?", help="a build; the last one when --action is given without it")
    parser.add_argument("--action", metavar="LABEL", help="print what this target's actions printed")
    add_common(parser)
    args = parser.parse(words)
    from hermetic.cli import workspace
    from hermetic.store.disk import DiskStore

    store = DiskStore(workspace.find(Path.cwd()).store_path(args.store))
    builds = sorted((store.root / "builds").glob("*.json"))
    if not args.id and not args.action:
        for path in builds[-20:]:
            data = json.loads(path.read_text(encoding="utf-8"))
            counts = ", ".join(f"{word} {count}" for word, count in data["outcomes"].items())
            print(f"{data['build_id']}  {data['wall_s']:8.1f} s  hb {' '.join(data['command'])}  ({counts})")
        return 0
    chosen = [path for path in builds if not args.id or path.stem == args.id]
    if not chosen:
        what = f"no build {args.id!r}" if args.id else "no build yet"
        raise CommandLineError(f"there is {what} in {store.root}", hint="hb log lists them")
    data = json.loads(chosen[-1].read_text(encoding="utf-8"))
    for one in data["actions"]:
        if not args.action:
            print(f"{one['outcome']:9}  {one['wall_s']:8.1f} s  {one['label']} {one['mnemonic']}")
        elif one["label"] == args.action:
            _print_logs(store, one)
    return 0


def _print_logs(store: Any, action: dict[str, Any]) -> None:
    from hermetic.digest import Digest

    digests = [Digest.parse(action[name]) for name in ("stdout", "stderr") if action[name]]
    if not digests:
        message = store.get(Digest(action["key"], 0)) if action["key"] else None
        if message is not None:
            digests = [
                Digest(one.hash, one.size_bytes) for one in (message.stdout_digest, message.stderr_digest) if one.hash
            ]
    for digest in digests:
        sys.stdout.write(store.read(digest).decode("utf-8", "replace"))
