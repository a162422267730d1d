"""``hb query``: ask the graph. The language is Bazel's, see docs/guide/query.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.options import Parser, add_common
from hermetic.cli.streams import say
from hermetic.cli.workspace import Workspace, find
from hermetic.errors import CommandLineError
from hermetic.query.answer import Answer, Question, ask, lines, unconfigured
from hermetic.query.functions import FUNCTIONS, is_text
from hermetic.query.loading import Source
from hermetic.query.output import FORMATS
from hermetic.query.output.order import ORDERS

if TYPE_CHECKING:
    from hermetic.execution.frontend import Frontend

PARTIAL = 3  # exit code of an answer that errors left incomplete
BATCH = 4096  # lines written at once


def main(words: Sequence[str]) -> int:
    args = _parser().parse(words)
    output = _output(args)
    found = find(Path.cwd(), args.config, args.set)
    universe = [one for patterns in args.universe for one in patterns.split(",")]
    question = Question.of(expression_of(args.expression), found.package, universe, args.keep_going)
    if args.configured or args.actions:
        from hermetic.cli.configured import configured

        answer = configured(question, found, args, source(found, args))
    else:
        answer = ask(question, unconfigured(question, source(found, args), args.tool_deps))
    _write(lines(answer, output, args.order_output, question))
    return _ending(answer)


def _parser() -> Parser:
    parser = Parser(
        "query",
        "Ask the graph of targets, in Bazel's query language.",
        "hb query 'deps(//runtime:none-cu13-amd64)'\n  hb query deps //pkg:name\n"
        "  hb query 'kind(\"image rule\", //...)' --output location",
    )
    parser.add_argument("expression", nargs="+", help="a query; or a function and its arguments as words of their own")
    parser.add_argument("--output", choices=sorted(FORMATS), help="how the answer looks (default: label)")
    parser.add_argument("--order_output", "--order-output", choices=ORDERS, default="auto", help="default: auto")
    parser.add_argument(
        "--universe", "--universe_scope", metavar="PATTERNS", action="append", default=[],
        help="what allrdeps() and rbuildfiles() look at (default: //...)",
    )  # fmt: skip
    parser.add_argument("--keep-going", "--keep_going", "-k", action="store_true", help="answer in spite of errors")
    parser.add_argument("--configured", action="store_true", help="targets with their settings, selects resolved")
    parser.add_argument("--actions", action="store_true", help="the actions of the targets found")
    for name, about in (("tool", "what is built for this machine"), ("implicit", "what rules add by themselves")):
        spellings = (f"{name}_deps", f"{name}-deps")
        dest = spellings[0]
        parser.add_argument(*(f"--{one}" for one in spellings), dest=dest, action="store_true", help=argparse.SUPPRESS)
        parser.add_argument(
            *(f"--no{one}" for one in spellings), dest=dest, action="store_false", help=f"leave out {about}"
        )
        parser.set_defaults(**{dest: True})
    add_common(parser)
    return parser


def _output(args: argparse.Namespace) -> str:
    if args.actions and args.output == "build":
        raise CommandLineError("--output build shows targets, not actions", hint="use --output text or --output json")
    if not args.actions and args.output == "text":
        raise CommandLineError("--output text shows actions", hint="add --actions, or use --output json")
    return str(args.output or ("text" if args.actions else "label"))


def expression_of(words: Sequence[str]) -> str:
    """``deps //x 2`` as words of the command line is ``deps(//x, 2)``, and texts among them need no quotes of
    their own. Words that do not begin with a function are joined by spaces."""
    first, *rest = words
    if first not in FUNCTIONS or not rest or rest[0].lstrip().startswith("("):
        return " ".join(words)
    return f"{first}({', '.join(_quoted(word) if is_text(first, at) else word for at, word in enumerate(rest))})"


def _quoted(text: str) -> str:
    if text[:1] in ("'", '"') and text[-1] == text[0] and len(text) > 1:
        return text
    return f'"{text}"' if "'" in text else f"'{text}'"


def source(found: Workspace, args: argparse.Namespace) -> Source:
    def frontend() -> Frontend:
        from hermetic.cli.session import frontend

        return frontend(found)

    state = found.state_beside(found.store_path(args.store)) / "query"
    return Source(found.root, state, found.options["ignore"], frontend)


def _write(rows: Iterable[str]) -> None:
    """Print lines in batches: one write for thousands of labels."""
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH)):
        sys.stdout.write("\n".join(batch) + "\n")


def _ending(answer: Answer) -> int:
    for note in answer.notes:
        say(f"hb: warning: {note}")
    for error in answer.errors:
        say(f"hb: {error}")
    if answer.errors:
        say("hb: the answer may be incomplete, as --keep-going was given")
    return PARTIAL if answer.errors else 0
