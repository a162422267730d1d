"""``hb``: finds the verb, imports it, runs it; turns errors into exit codes.

Start-up time is a feature: nothing is imported that the verb does not need.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from hermetic.cli.streams import abandon, finish, open_missing, say

VERBS = {
    "build": "build targets and show them under hb-out/",
    "test": "build and run tests",
    "run": "build a target and run the program it makes",
    "fetch": "fetch what targets need, and run nothing",
    "lock": "resolve and pin what targets fetch",
    "vendor": "write everything an air-gapped build needs into a folder",
    "shell": "open a shell in an action's sandbox",
    "config": "show the settings in force and where each came from",
    "image": "export or describe a built image",
    "query": "ask the graph of targets, in Bazel's query language",
    "affected": "list the targets that differ from a git revision",
    "why": "say why something was built again",
    "cache": "look after the caches: sizes, soundness, room, who may do what, keys",
    "diff": "show what changed in a target's output",
    "log": "show past builds, and what their actions printed",
    "doctor": "say what this machine allows, and how to mend what it does not",
    "clean": "remove hb-out/ and this workspace's own caches; never the store",
    "info": "show where things are",
}


def main(argv: Sequence[str] | None = None) -> int:
    open_missing()
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("--version", "version"):
        from hermetic import __version__

        print(f"hb {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    return run(words[0], words[1:])


def run(verb: str, words: Sequence[str]) -> int:
    from hermetic.errors import CommandLineError, HbError, did_you_mean

    try:
        if verb not in VERBS:
            raise CommandLineError(f"there is no command {verb!r}", hint=did_you_mean(verb, VERBS) or "see hb --help")
        if verb in ("build", "test"):
            from hermetic.cli.warm import answer

            known = answer([verb, *words])
            if known is not None:
                return known if finish() else 1
        import importlib

        module = importlib.import_module(f"hermetic.cli.verbs.{verb}")
        code: int = module.main(words)
        return code if finish() else 1
    except HbError as error:
        say(f"hb: {error}")
        if os.environ.get("GITHUB_ACTIONS"):
            from hermetic.cli.annotations import annotate_end

            annotate_end(error)
        return error.exit_code
    except KeyboardInterrupt:
        say("hb: interrupted")
        return 8
    except BrokenPipeError:
        abandon(1)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return defect(error)
        say(
            f"hb: {error.filename or 'a file'} cannot be written: {error.strerror}\n  → free some space, or use --store"
        )
        return 1
    except Exception as error:
        return defect(error)


def defect(error: Exception) -> int:
    """A defect of hb: where it happened in one line, all of it in a file."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    if os.environ.get("HB_DEBUG"):
        say(text)
    with tempfile.NamedTemporaryFile("w", prefix="hb-defect-", suffix=".txt", delete=False) as report:
        report.write(text)
    say(f"hb: internal error: {type(error).__name__}: {error}\n  → the report is {report.name}")
    return 37


def overview() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {name:{width}}  {text}" for name, text in VERBS.items())
    return (
        "hb builds images hermetically.\n\nusage: hb COMMAND …\n\n"
        f"{rows}\n\nhb COMMAND --help shows a command's options and an example."
    )


if __name__ == "__main__":
    sys.exit(main())
