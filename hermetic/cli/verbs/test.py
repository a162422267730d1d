"""``hb test``: build and run tests; passes are cached."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hermetic.cli.options import Parser, add_build
from hermetic.cli.streams import say
from hermetic.cli.summary import add_summary, summarised
from hermetic.errors import CommandLineError
from hermetic.report.summary import tests_line


class NoTests(CommandLineError):
    exit_code = 4


def main(words: Sequence[str]) -> int:
    parser = Parser("test", "Build and run tests. A pass is cached by everything it can see.", "hb test //runtime:all")
    parser.add_argument("pattern", nargs="+", help="labels and patterns; targets that are no tests are left out")
    add_build(parser)
    add_summary(parser)
    args = parser.parse(words)
    from hermetic.cli.building import build
    from hermetic.cli.session import session
    from hermetic.execution.frontend import Loaded, Since

    with session(args) as found:

        def load(since: Since | None) -> Loaded:
            loaded = found.load(args.pattern, since, tests_only=True, keep_going=args.keep_going)
            if not loaded.graph.requested and not loaded.errors:
                raise NoTests(f"no tests in {' '.join(args.pattern)}", hint="hb build builds targets that are no tests")
            return loaded

        ended = summarised(found, "test", partial(build, found, load, ["test", *words]))
        say(tests_line(ended.requested, ended.exit_code == 0))
        return ended.exit_code
