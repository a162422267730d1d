"""``hb diff``: what changed in the outputs of a target between two builds, or since a git revision."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hermetic.cli.options import Parser, add_common
from hermetic.cli.remote import add_remote
from hermetic.errors import CommandLineError, did_you_mean

if TYPE_CHECKING:
    from hermetic.audit.past import Past
    from hermetic.cli.session import Session
    from hermetic.execution.history import Head
    from hermetic.store.operation import Resolved


def main(words: Sequence[str]) -> int:
    example = (
        "hb diff //runtime:none-cu13-amd64 --against origin/main\n  hb diff //pkg:x --against 20261121-074732-4038"
    )
    parser = Parser("diff", "Show what changed in a target's output: files with their sizes, layer by layer.", example)
    parser.add_argument("label", help="a target that was built")
    parser.add_argument("--against", metavar="ID|REV", required=True, help="a build, or a git revision")
    parser.add_argument("--build", metavar="ID", help="the build in question (default: the last one with this target)")
    parser.add_argument("--all", action="store_true", help="every file")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_common(parser)
    add_remote(parser)
    args = parser.parse(words)
    from hermetic.audit.outputs import json_of, lines_of, output_differences
    from hermetic.audit.past import Past
    from hermetic.audit.words import printable
    from hermetic.cli.remember import history_of
    from hermetic.cli.session import session
    from hermetic.cli.verbs.log import pick
    from hermetic.label import Label
    from hermetic.store.protocols import MissingBlob

    with session(argparse.Namespace(**vars(args), dry_run=True, keep_going=True)) as found:
        past = Past(history_of(found.store.root), found.store)
        label = str(Label.parse(args.label, found.workspace.package))
        head = pick(past.heads, args.build, found.store.root) if args.build else _last(found, past, label)
        new, layout = _built(found, past, head, label)
        other = next((one for one in past.heads if one.id == args.against), None)
        old = _built(found, past, other, label)[0] if other else _at(found, args.against, label)
        try:
            parts = output_differences(old, new, layout, found.store.read)
        except MissingBlob as error:
            raise CommandLineError(
                f"an output of {label} is not whole any more: {error.message}", hint="build it again"
            ) from None
    if args.json:
        print(json.dumps({"label": label, "build_id": head.id, "against": args.against, "parts": json_of(parts)}))
    else:
        verdict = "the same" if not parts else "differs" if len(parts) == 1 else f"{len(parts)} parts differ"
        print(f"{label} in build {head.id} against {args.against}: {verdict}")
        for line in lines_of(parts, args.all):
            print(printable(line))
    return 0


def _last(found: Session, past: Past, label: str) -> Head:
    from hermetic.audit.why import last_build_of

    head = last_build_of(past, label, str(found.workspace.root))
    if head is None:
        raise CommandLineError(f"no build of this workspace that is kept had {label}", hint=f"hb build {label}")
    return head


def _built(found: Session, past: Past, head: Head, label: str) -> tuple[Resolved, str]:
    """What a build made for a label, and how it is laid out."""
    from hermetic.action import Kind
    from hermetic.digest import Digest
    from hermetic.store.operation import Resolved

    state = past.view(head).state
    shown = state.labelled(label)
    if not shown:
        near = did_you_mean(label, [one.label for one in state.targets])
        raise CommandLineError(f"build {head.id} had no {label}", hint=near or "hb log lists builds")
    if not shown[0].steps:
        raise CommandLineError(f"{label} shows files of the workspace as they are", hint="git diff compares them")
    step = state.steps[shown[0].steps[0]]
    key = Digest(step.key, 0)
    message = (found.store.get(key) or (found.remote and found.remote(key))) if step.key else None
    if message is None:
        raise CommandLineError(
            f"build {head.id} has no result of {label} that is still in the store", hint=f"hb build {label}"
        )
    for directory in message.output_directories:
        digest = directory.root_directory_digest
        return Resolved(Kind.TREE, Digest(digest.hash, digest.size_bytes)), shown[0].layout
    file = message.output_files[0]
    return Resolved(Kind.BLOB, Digest(file.digest.hash, file.digest.size_bytes), file.is_executable), shown[0].layout


def _at(found: Session, revision: str, label: str) -> Resolved:
    """What a revision's files make for a label, if somebody has built that."""
    from hermetic.cli.revision import at_revision
    from hermetic.execution.outcome import Silent, made_by

    with at_revision(found, revision) as earlier:
        loaded = earlier.load([label])
        result = earlier.execute(loaded.graph, Silent())
        made = made_by(result.finished.values())
        target = loaded.graph.targets[loaded.graph.requested[0]]
        try:
            return earlier.sources.resolve(target.outputs[0][1], made)
        except (KeyError, IndexError):
            hint = f"git worktree add ../there {revision}, and hb build {label} in it"
            raise CommandLineError(f"the store has no result of {label} at {revision}", hint=hint) from None
