"""``hb why``: why what is behind a target was built again. Answers from records; builds nothing."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.options import Parser, add_common
from hermetic.cli.remote import add_remote
from hermetic.errors import CommandLineError, did_you_mean

if TYPE_CHECKING:
    from hermetic.audit.pairing import View
    from hermetic.audit.past import Past
    from hermetic.execution.history import Head
    from hermetic.tree import Load


def main(words: Sequence[str]) -> int:
    example = "hb why //runtime:none-cu13-amd64\n  hb why //runtime:none-cu13-amd64 --against 20261121-074732-4038"
    parser = Parser("why", "Say why what is behind a target was built again, from what past builds kept.", example)
    parser.add_argument("label", help="a target of that build")
    parser.add_argument("--build", metavar="ID", help="the build in question (default: the last one with this target)")
    parser.add_argument(
        "--against",
        metavar="ID|FILE|NAME",
        help="compare with this build: an id, a file of hb log --export, or a name of hb log --publish such as ci",
    )
    parser.add_argument("--all", action="store_true", help="also actions that were hits, and every list to its end")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_common(parser)
    add_remote(parser)
    args = parser.parse(words)
    from hermetic.audit.past import Past
    from hermetic.audit.text import json_of, lines_of
    from hermetic.audit.why import why, why_differs
    from hermetic.audit.words import printable
    from hermetic.cli import workspace
    from hermetic.cli.remember import history_of
    from hermetic.cli.verbs.log import pick
    from hermetic.label import Label
    from hermetic.store.disk import DiskStore

    found = workspace.find(Path.cwd(), args.config, args.set)
    store = DiskStore(found.store_path(args.store))
    past = Past(history_of(store.root), store)
    label = str(Label.parse(args.label, found.package))
    head = pick(past.heads, args.build, store.root) if args.build else _last(past, label, str(found.root))
    if not past.view(head).state.labelled(label):
        raise CommandLineError(f"build {head.id} had no {label}", hint=_near(past, head, label))
    if args.against:
        answer = why_differs(past, head, label, *_other(past, args, store.read))
    else:
        answer = why(past, head, label, store, store.read)
    if args.json:
        print(json.dumps(json_of(answer)))
    else:
        print("\n".join(map(printable, lines_of(answer, args.all))))
    return 0


def _other(past: Past, args: argparse.Namespace, load: Load) -> tuple[View, str, Load]:
    """The build to compare with: its view, what to call it, and where its blobs are."""
    from hermetic.cli.others import from_cache, from_file

    name = args.against
    head = next((one for one in past.heads if one.id == name), None)
    if head is not None:
        return past.view(head), head.id, load
    if os.sep in name or Path(name).is_file():
        bundle = from_file(Path(name))
    else:
        bundle, commit = from_cache(args, name)
        name = f"{name} of {commit[:12]}"
    return bundle.view, name, bundle.load(load)


def _last(past: Past, label: str, workspace: str) -> Head:
    from hermetic.audit.why import last_build_of

    head = last_build_of(past, label, workspace)
    if head is None:
        here = [one for one in past.heads if one.workspace == workspace]
        hint = _near(past, here[-1], label) if here else f"build it first: hb build {label}"
        raise CommandLineError(f"no build of this workspace that is kept had {label}", hint=hint)
    return head


def _near(past: Past, head: Head, label: str) -> str:
    labels = [one.label for one in past.view(head).state.targets]
    return did_you_mean(label, labels) or f"build it first: hb build {label}"
