"""``hb log``: past builds, one build, or what an action printed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermetic.cli.options import Parser, add_common
from hermetic.cli.remote import add_remote
from hermetic.errors import CommandLineError, did_you_mean

if TYPE_CHECKING:
    from hermetic.execution.history import Head, History
    from hermetic.execution.records import Event, Step
    from hermetic.store.disk import DiskStore

SHOWN = 20
NAME_A_FILE = "name a file; its folder must be there"
NO_TIME = ("hit-local", "hit-remote", "skipped")  # outcomes of what did not run


def main(words: Sequence[str]) -> int:
    example = "hb log\n  hb log last\n  hb log last --action //container/native:ucx"
    parser = Parser("log", "Show past builds, one build, or what an action printed.", example)
    parser.add_argument("id", nargs="?", help='a build, or "last"')
    parser.add_argument("--action", metavar="LABEL", help="print what this target's actions wrote to stdout and stderr")
    parser.add_argument(
        "--all", action="store_true", help="also builds of other workspaces, and actions that were hits"
    )
    parser.add_argument("--critical-path", action="store_true", help="what the build waited for, and what it cost")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--export", metavar="FILE", help="write a build's record, for hb why --against FILE elsewhere")
    parser.add_argument("--publish", metavar="NAME", help="write it to the remote cache, for hb why --against NAME")
    add_common(parser)
    add_remote(parser)
    args = parser.parse(words)
    from hermetic.cli import workspace
    from hermetic.cli.remember import history_of
    from hermetic.store.disk import DiskStore

    found = workspace.find(Path.cwd(), args.config, args.set)
    store = DiskStore(found.store_path(args.store))
    history = history_of(store.root)
    heads = history.heads(None if args.all else str(found.root))
    if not args.id and not (args.action or args.export or args.publish or args.critical_path):
        for head in heads[-SHOWN:]:
            print(json.dumps(_summary(head)) if args.json else _line(head))
        return 0
    head = pick(heads, args.id or "last", store.root)
    if args.export or args.publish:
        return _hand_over(args, history, head, store)
    if args.action:
        return _print_logs(history, head, args.action, store, args.json)
    if args.critical_path:
        return _print_path(history, head, args.json)
    compiled = history.compiled(head)
    for number, step, event in _steps(history, head, hits=args.all):
        counts = compiled.get(number)
        if args.json:
            print(json.dumps({**_row(step, event), **({"compile_cache": counts.to_object()} if counts else {})}))
        else:
            print(_step_line(step, event))
            if counts is not None:
                print(f"{'':24}compile cache: {counts}")
                print("".join(f"{'':26}not cacheable: {one}\n" for one in counts.reasons()), end="")
    if not args.json:
        print(_line(head))
    return 0


def _print_path(history: History, head: Head, as_json: bool) -> int:
    from hermetic.audit.critical import stretches

    state = history.state(head)
    ran = {one.step: one.wall for one in history.events(head) if one.outcome not in NO_TIME}
    for one in stretches(state, ran):
        if as_json:
            row = {"title": one.title, "seconds": one.seconds, "share": round(one.share, 3), "won": round(one.won, 3)}
            print(json.dumps(row))
        else:
            print(f"{one.seconds:8.1f} s {one.share:5.0%}  {one.title}  (without it {one.won:.1f} s less)")
    return 0


def _hand_over(args: argparse.Namespace, history: History, head: Head, store: DiskStore) -> int:
    """Write a build's record to a file, or to the remote cache."""
    from hermetic.audit.bundle import bundle_of
    from hermetic.audit.past import Past

    past = Past(history, store)
    if args.export:
        try:
            Path(args.export).write_bytes(bundle_of(past, head, store).encode())
        except OSError as error:
            raise CommandLineError(f"{args.export} cannot be written: {error.strerror}", hint=NAME_A_FILE) from None
    if args.publish:
        from hermetic.cli.others import publish_build

        publish_build(args, past, head, args.publish)
    return 0


def pick(heads: Sequence[Head], build: str, store: Path) -> Head:
    """The build a person named: its id, or "last". CommandLineError when there is none."""
    chosen = heads[-1:] if build == "last" else [head for head in heads if head.id == build]
    if not chosen:
        what = "no build of this workspace" if build == "last" else f"no build {build!r}"
        near = did_you_mean(build, [head.id for head in heads])
        raise CommandLineError(f"there is {what} in {store}", hint=near or "hb log lists the builds that are kept")
    return chosen[-1]


def _line(head: Head) -> str:
    counts = ", ".join(f"{word} {count}" for word, count in head.outcomes.items()) or "nothing to do"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(head.time))
    return f"{head.id}  {when}  {head.wall:8.1f} s  hb {' '.join(head.command)}  ({counts})"


def _summary(head: Head) -> dict[str, Any]:
    return {
        "build_id": head.id,
        "time": head.time,
        "workspace": head.workspace,
        "command": list(head.command),
        "wall_s": head.wall,
        "outcomes": dict(head.outcomes),
        "interrupted": head.interrupted,
    }


def _steps(history: History, head: Head, *, hits: bool) -> list[tuple[int, Step, Event | None]]:
    """Number, step and what happened to it."""
    steps = history.state(head).steps
    events = {event.step: event for event in history.events(head)}
    chosen = range(len(steps)) if hits else sorted(events)
    return [(number, steps[number], events.get(number)) for number in chosen]


def _step_line(step: Step, event: Event | None) -> str:
    outcome, wall = (event.outcome, event.wall) if event else ("hit", 0.0)
    return f"{outcome:9}  {wall:8.1f} s  {step.title}"


def _row(step: Step, event: Event | None) -> dict[str, Any]:
    return {
        "label": step.label,
        "mnemonic": step.mnemonic,
        "settings": step.settings,
        "outcome": event.outcome if event else "hit",
        "key": step.key,
        "wall_s": event.wall if event else 0.0,
        "error": event.error if event else "",
    }


def _print_logs(history: History, head: Head, label: str, store: DiskStore, as_json: bool) -> int:
    from hermetic.label import Label

    wanted = str(Label.parse(label)) if label.startswith("//") else label
    chosen = [(step, event) for _, step, event in _steps(history, head, hits=True) if step.label == wanted]
    if not chosen:
        near = did_you_mean(wanted, [step.label for step in history.state(head).steps])
        raise CommandLineError(f"build {head.id} had no action of {label}", hint=near or f"hb log {head.id} --all")
    for step, event in chosen:
        out, err = (_text(store, digest) for digest in _digests(store, step, event))
        if as_json:
            print(json.dumps({**_row(step, event), "stdout": out, "stderr": err}))
        else:
            sys.stdout.write(out + err)
    return 0


def _digests(store: DiskStore, step: Step, event: Event | None) -> tuple[str, str]:
    """stdout and stderr of a step that ran in this build, or of the run that made its result."""
    from hermetic.digest import Digest
    from hermetic.store.assisted import assisted_key

    if event is not None and (event.stdout or event.stderr):
        return event.stdout, event.stderr
    key = Digest(step.key, 0)
    message = store.get(key) or store.get(assisted_key(key)) if step.key else None
    if message is None:
        return "", ""
    out, err = message.stdout_digest, message.stderr_digest
    return (f"{out.hash}/{out.size_bytes}" if out.hash else "", f"{err.hash}/{err.size_bytes}" if err.hash else "")


def _text(store: DiskStore, digest: str) -> str:
    from hermetic.digest import Digest
    from hermetic.store.protocols import MissingBlob

    try:
        return store.read(Digest.parse(digest)).decode("utf-8", "replace") if digest else ""
    except MissingBlob:
        return "(this log is no longer in the store)\n"
