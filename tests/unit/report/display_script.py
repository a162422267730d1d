"""A build as the reporter is told of it; each line typed lets it go on. Run by test_display.py."""

from __future__ import annotations

import sys

from hermetic.action import Action, Mode
from hermetic.errors import ActionError, Location
from hermetic.execution.outcome import BuildResult, Finished, Foresight, Outcome
from hermetic.report.terminal import TerminalReporter

COUNT = int(sys.argv[1])
NAME = sys.argv[2]


def action(number: int) -> Action:
    return Action(f"a{number}", f"//{NAME}:t{number}", "Make", Location("BUILD.py", 3), Mode.COMMAND, ("true",), ())


reporter = TerminalReporter()
seconds = {f"a{number}": 100.0 for number in range(COUNT)}
doing = {f"a{number}": ("runs", 3 << 30) for number in range(COUNT)}
reporter.foreseen(Foresight(seconds, seconds, 4, lambda: doing))
reporter.planned(COUNT + 1)
reporter._since -= 10  # the hits are behind
for number in range(COUNT):
    reporter.started(action(number))
sys.stdin.readline()
built = Finished(action(0), Outcome.BUILT, wall=1.5)
reporter.finished(built)
reporter.note("a note\x1b[2J")
sys.stdin.readline()
error = ActionError("Make failed with exit 1", location=Location("BUILD.py", 3), label="//:t1", hint="look")
log = "50%\r100%\n\x1b[31mred\x1b[0m \x1b]52;c;ZXZpbA==\x07\x1b]0;title\x1b\\\x1b[2J\x1b[10Alast"
failed = Finished(action(1), Outcome.FAILED, wall=2.5, error=error, tail=log)
reporter.finished(failed)
sys.stdin.readline()
reporter.end(BuildResult("1", {"a0": built, "a1": failed}, 34.21))
