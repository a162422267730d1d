"""``hb shell``: an interactive shell in an action's sandbox, failed or not."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_build


def main(words: Sequence[str]) -> int:
    parser = Parser("shell", "Open a shell in the sandbox of a target's command.", "hb shell //container/native:ucx")
    parser.add_argument("label", help="the target")
    parser.add_argument("command", nargs="*", help="run this instead of a shell (after --)")
    parser.add_argument("--mnemonic", help="which of the target's commands, when it has several")
    parser.add_argument("--secrets", action="store_true", help="let the shell have the command's secrets")
    add_build(parser)
    args = parser.parse(words)
    from hermetic.cli.session import session
    from hermetic.sandbox.secrets import opened
    from hermetic.sandbox.shell import interactive
    from hermetic.store.stage import remove_tree

    with session(args) as found:
        from hermetic.execution.inspect import prepare

        loaded, _ = found.load_one(args.label)
        action, keyed, runner = prepare(loaded, found.runner(), found.fetch, found.jobs, args.mnemonic)
        work = Path(tempfile.mkdtemp(dir=found.scratch))
        try:
            print(f"the command of {action.label} is:\n  {' '.join(action.argv)}", file=sys.stderr)
            if action.secrets and not args.secrets:
                print(f"its secrets come with --secrets only: {', '.join(action.secrets)}", file=sys.stderr)
            with opened(found.vault.take(action.secrets) if args.secrets else ()) as secrets:
                for fd in secrets.values():
                    os.set_inheritable(fd, True)
                argv = interactive(runner.spec(action, keyed), work, args.command, secrets)
                # An empty environment: what runs inside can read that of the sandbox's first process.
                return os.waitstatus_to_exitcode(os.spawnve(os.P_WAIT, argv[0], argv, {}) << 8)
        finally:
            remove_tree(work)
