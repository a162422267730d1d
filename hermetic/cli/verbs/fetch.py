"""``hb fetch``: fetch what targets need, and run nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hermetic.cli.options import Parser, add_build


def main(words: Sequence[str]) -> int:
    parser = Parser("fetch", "Fetch everything targets need into the store, and run no command.", "hb fetch //...")
    parser.add_argument("pattern", nargs="+", help="labels and patterns")
    add_build(parser)
    args = parser.parse(words)
    from hermetic.action import ActionGraph, Mode, TargetNode
    from hermetic.cli.ended import Ended
    from hermetic.cli.session import session
    from hermetic.errors import Location
    from hermetic.report.terminal import TerminalReporter

    with session(args) as found:
        loaded = found.load(args.pattern, keep_going=args.keep_going)
        from hermetic.action import Made

        refs = tuple(
            (action.id, Made(action.id, output.name, output.kind))
            for action in loaded.graph.actions.values()
            if action.mode is Mode.FETCH
            for output in action.outputs
        )
        everything = TargetNode("fetch", "fetch", "", Location("", 0), (), (), (), refs)
        graph = ActionGraph(loaded.graph.actions, {"fetch": everything}, ("fetch",))
        reporter = TerminalReporter()
        result = found.execute(graph, reporter)
        reporter.end(result)
        return Ended(result, 0, errors=loaded.errors).exit_code
