"""``hb vendor``: everything an air-gapped build needs, in a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_build
from hermetic.errors import CommandLineError


def main(words: Sequence[str]) -> int:
    example = (
        "hb vendor third-party //runtime:none-cu13-amd64\n  hb build --vendor third-party //runtime:none-cu13-amd64"
    )
    parser = Parser("vendor", "Write every fetched thing that targets need into DIR.", example)
    parser.add_argument("dir", metavar="DIR", help="the folder; what it has already is kept")
    parser.add_argument("pattern", nargs="+", help="labels and patterns")
    add_build(parser)
    args = parser.parse(words)
    folder, args.vendor = Path(args.dir).absolute(), None
    if folder.exists() and not folder.is_dir():
        raise CommandLineError(f"{folder} is not a folder", hint="hb vendor DIR PATTERN…: the folder comes first")
    from hermetic.action import Mode
    from hermetic.cli.session import session
    from hermetic.cli.verbs.fetch import main as fetch
    from hermetic.fetch.vendor import VendorDir

    options = [word for word in words if word != args.dir]
    code = fetch(options)
    if code:
        return code
    with session(args) as found:
        graph = found.load(args.pattern).graph
        runner, vendor, count = found.runner(), VendorDir(folder), 0
        from hermetic.execution.executor import Executor, Options
        from hermetic.execution.outcome import Silent

        executor = Executor(graph, runner, found.fetch, Silent(), Options(1))
        for action in graph.actions.values():
            if action.mode is Mode.FETCH:
                (done,) = executor.fetch_now([action])
                for resolved in done.outputs.values():
                    vendor.put(action.argv[0], json.loads(action.argv[1]), resolved, found.store)
                    count += 1
    print(f"{count} fetched things are in {folder}", file=sys.stderr)
    return 0
