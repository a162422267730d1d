"""``hb build``: build targets and show them under hb-out/."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hermetic.cli.options import Parser, add_build
from hermetic.cli.summary import add_summary, summarised


def main(words: Sequence[str]) -> int:
    example = "hb build //runtime:none-cu13-amd64\n  hb build //container/native:ucx --compile-cache"
    parser = Parser("build", "Build targets and show them under hb-out/.", example)
    parser.add_argument("pattern", nargs="+", help="labels and patterns: //pkg:name, //pkg:all, //pkg/..., -//pkg:x")
    add_build(parser)
    add_summary(parser)
    args = parser.parse(words)
    from hermetic.cli.building import build
    from hermetic.cli.session import session

    with session(args) as found:
        load = partial(found.load, args.pattern, keep_going=args.keep_going)
        return summarised(found, "build", partial(build, found, load, ["build", *words])).exit_code
