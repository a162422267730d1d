"""``hb lock``: resolve and pin what targets fetch."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_common
from hermetic.errors import CommandLineError, FetchError


def main(words: Sequence[str]) -> int:
    parser = Parser("lock", "Resolve what targets fetch and write their lock files.", "hb lock //container/wheels:uv")
    parser.add_argument("pattern", nargs="*", default=["//..."], help="labels and patterns (default //...)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a lock is stale")
    add_common(parser)
    args = parser.parse(words)
    from hermetic.cli import workspace
    from hermetic.cli.session import frontend
    from hermetic.label import Label
    from hermetic.pattern import PatternSet

    found = workspace.find(Path.cwd(), args.config, args.set)
    loaded = frontend(found).graph(args.pattern, package=found.package, keep_going=True)
    wanted = PatternSet.parse(args.pattern, found.package)
    named = [label for label in loaded.locks if wanted.matches(Label.parse(label))]
    if not named:
        for error in loaded.errors:
            raise error
        raise CommandLineError(f"nothing in {' '.join(args.pattern)} has a lock")
    stale = 0
    for label in sorted(named):
        stale += _lock(found.root, label, json.loads(loaded.locks[label]), args.check)
    if stale:
        raise FetchError(f"{stale} locks are stale", hint="run: hb lock " + " ".join(args.pattern))
    return 0


def _lock(root: Path, label: str, lock: dict[str, object], check: bool) -> int:
    from hermetic.fetch.lock import resolve
    from hermetic.fetch.lockfile import is_stale

    path, kind, spec = root / str(lock["path"]), str(lock["kind"]), lock["spec"]
    assert isinstance(spec, dict)
    if check:
        if path.exists() and not is_stale(path.read_text(encoding="utf-8"), kind, spec):
            return 0
        print(f"stale  {label}  {lock['path']}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        text = resolve(kind, spec, Path(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    changed = not path.exists() or path.read_text(encoding="utf-8") != text
    path.write_text(text, encoding="utf-8")
    print(f"{'wrote ' if changed else 'same  '} {lock['path']}  ({len(text.splitlines()) - 1} lines)", file=sys.stderr)
    return 0
