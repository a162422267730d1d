"""``hb affected``: the targets that a git revision would build differently."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hermetic.cli.annotations import annotate
from hermetic.cli.options import Parser, add_common
from hermetic.cli.remote import add_remote
from hermetic.cli.streams import say
from hermetic.query.output import FORMATS

if TYPE_CHECKING:
    from hermetic.audit.affected import Affected, Difference

OWN = ("label", "json", "jsonl")  # the other formats are those of hb query


def main(words: Sequence[str]) -> int:
    example = "hb affected --since origin/main //runtime/...\n  hb build $(hb affected --since origin/main)"
    about = "List the targets whose action keys differ from a git revision's, and why. Builds nothing."
    parser = Parser("affected", about, example)
    parser.add_argument("pattern", nargs="*", help="labels and patterns (default: //...)")
    parser.add_argument("--since", metavar="REV", required=True, help="a commit, branch or tag")
    formats = sorted({*OWN, *FORMATS} - {"text"})
    parser.add_argument("--output", choices=formats, default="label", help="how targets are printed, as in hb query")
    parser.add_argument("--all", action="store_true", help="every cause, and every list to its end")
    parser.add_argument("--tests-only", action="store_true", help="only tests")
    add_common(parser)
    add_remote(parser)
    args = parser.parse(words)
    patterns = args.pattern or ["//..."]
    from hermetic.audit.affected import compare
    from hermetic.audit.past import Past
    from hermetic.audit.text import cause_lines
    from hermetic.audit.words import printable
    from hermetic.cli.remember import history_of
    from hermetic.cli.revision import at_revision, keyed_tree, load_at
    from hermetic.cli.session import session

    with session(argparse.Namespace(**vars(args), dry_run=True, keep_going=True)) as found:
        past = Past(history_of(found.store.root), found.store)
        loaded = found.load(patterns, tests_only=args.tests_only, keep_going=True)
        now = keyed_tree(found, loaded, "the working tree", past)
        with at_revision(found, args.since) as earlier:
            then = keyed_tree(earlier, load_at(earlier, patterns, args.tests_only), args.since, past)
            difference = compare(now, then, found.store.read)
        for line in cause_lines(difference.explanation, now.view.state, args.all):
            say(printable(line))
    for label in difference.removed:
        say(f"{label} is gone since {args.since}")
    for error in loaded.errors:
        say(f"hb: {error}")
    annotate((), loaded.errors, found.workspace.root)
    _print(difference, args)
    return loaded.errors[0].exit_code if loaded.errors else 0


def _print(difference: Difference, args: argparse.Namespace) -> None:
    labels = list(dict.fromkeys(one.target.label for one in difference.affected))
    if args.output == "json":
        print(json.dumps([_row(one) for one in difference.affected]))
    elif args.output in OWN:
        for row in labels if args.output == "label" else [json.dumps(_row(one)) for one in difference.affected]:
            print(row)
    elif labels:
        from hermetic.cli.verbs import query

        quoted = " ".join(f"'{label}'" for label in labels)
        options = [word for name in ("config", "set") for value in getattr(args, name) for word in (f"--{name}", value)]
        query.main([f"set({quoted})", "--output", args.output, *options])


def _row(one: Affected) -> dict[str, Any]:
    return {
        "label": one.target.label,
        "kind": one.target.rule,
        "settings": dict(one.target.settings),
        "new": one.new,
        "why": [cause.text for cause in one.causes],
    }
