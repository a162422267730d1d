"""Options that several verbs share, and a parser whose errors are ours."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from hermetic.cli.compile_cache import ON, add_compile_cache
from hermetic.cli.remote import add_remote
from hermetic.cli.secrets import add_secrets
from hermetic.errors import CommandLineError, did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse that raises CommandLineError and suggests the nearest option."""

    def __init__(self, verb: str, about: str, example: str) -> None:
        super().__init__(
            prog=f"hb {verb}",
            description=about,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.set_defaults(verb=verb)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """``-//pkg:x`` and ``-:x`` take targets away; argparse must not read them as options."""
        mark = "\0"
        marked = [mark + word if word.startswith(("-//", "-:")) else word for word in _joined(words)]
        args = self.parse_args(marked)
        for name, value in vars(args).items():
            if isinstance(value, list):
                setattr(args, name, [one.removeprefix(mark) for one in value])
        return args

    def error(self, message: str) -> NoReturn:
        hint = f"see {self.prog} --help"
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
            hint = did_you_mean(word, self._option_string_actions) or hint
        if chosen := _CHOICE.fullmatch(message):
            option, word, known = chosen["option"], chosen["word"], chosen["known"].replace("'", "")
            message = f"{option} cannot be {word!r}" if option.startswith("-") else f"{self.prog} has no {word!r}"
            hint = did_you_mean(word, known.split(", ")) or f"one of {known}"
        raise CommandLineError(message, hint=hint)


# What argparse says of a word that is not one of its choices
_CHOICE = re.compile(r"argument (?P<option>.+?): invalid choice: '(?P<word>.*)' \(choose from (?P<known>.*)\)")


def _joined(words: Sequence[str]) -> list[str]:
    """A bare --compile-cache has a value too: what follows it is a pattern."""
    end = words.index("--") if "--" in words else len(words)
    return [f"{word}={ON}" if word == "--compile-cache" else word for word in words[:end]] + list(words[end:])


def add_common(parser: Parser) -> None:
    """Settings, store and output: every verb that looks at targets."""
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--config", metavar="NAME", action="append", default=[], help="named settings of [tool.hb.config]"
    )
    group.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="one setting")
    group.add_argument("--store", metavar="DIR", help="the local store")


def add_build(parser: Parser) -> None:
    """Execution: verbs that run actions."""
    add_common(parser)
    group = parser.add_argument_group("execution")
    group.add_argument("--jobs", "-j", metavar="N", help="actions and their jobs at the same time (default: auto)")
    group.add_argument(
        "--local-cpu", metavar="N", help="CPUs that actions share (default: auto, what this process may use)"
    )
    group.add_argument("--local-memory", metavar="SIZE", help="memory that actions share, like 12G (default: auto)")
    group.add_argument("--strategy", choices=["namespace"], default="namespace", help="what runs actions")
    group.add_argument("--profile", metavar="FILE", help="write what took how long, as a trace for Perfetto or Chrome")
    group.add_argument("--events", metavar="FILE", help="write what happens, one JSON object per line")
    group.add_argument("--keep-going", "-k", action="store_true", help="build what does not depend on a failure")
    group.add_argument("--dry-run", "-n", action="store_true", help="say what would run, and run nothing")
    group.add_argument("--sandbox-debug", action="store_true", help="keep the folders of sandboxes")
    group.add_argument("--vendor", metavar="DIR", help="take fetched things from a folder hb vendor wrote")
    group.add_argument("--offline", action="store_true", help="fetch nothing")
    group.add_argument("--json", action="store_true", help="one JSON object per target, and a summary")
    add_remote(parser)
    add_secrets(parser)
    add_compile_cache(parser)
