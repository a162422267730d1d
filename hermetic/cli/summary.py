"""``--summary FILE``: a build as a page of Markdown, also where GitHub Actions collects them.

Guarantees: the page is written however the build ended, also when BUILD files could not be loaded; a page
that cannot be written, or whose history is damaged, changes neither the build nor its exit code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.annotations import words
from hermetic.cli.asked import FLAG, VARIABLE, collected
from hermetic.cli.streams import say
from hermetic.errors import CommandLineError, HbError

if TYPE_CHECKING:
    import argparse

    from hermetic.audit.past import Past
    from hermetic.cli.ended import Ended
    from hermetic.cli.session import Session
    from hermetic.execution.history import Head
    from hermetic.execution.records import State
    from hermetic.report.summary_md import Failure, Page


def add_summary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        FLAG, metavar="FILE", help=f"write a page of Markdown about the build (on GitHub Actions: to ${VARIABLE})"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page goes. GitHub's file holds what earlier commands of a step wrote, so it is added to."""

    path: Path
    add: bool

    @staticmethod
    def of(args: argparse.Namespace, environment: Mapping[str, str]) -> Place | None:
        """Raises CommandLineError."""
        github = collected(environment)
        if args.dry_run and args.summary:
            raise CommandLineError(f"a dry run has no {FLAG}", hint="its plan is what hb prints, as data with --json")
        if args.dry_run or not (args.summary or github):
            return None
        path = Path(args.summary or github)
        if args.summary and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise CommandLineError(f"{FLAG} {path} cannot be a file", hint="name a file; its folder must be there")
        return Place(path, str(path) == github)

    def write(self, text: str) -> None:
        try:
            with self.path.open("a" if self.add else "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
        except OSError as error:
            say(f"hb: the summary {self.path} cannot be written: {error.strerror}")


def summarised(found: Session, verb: str, build: Callable[[], Ended]) -> Ended:
    """Build, then write the page if one is wanted."""
    place = Place.of(found.args, os.environ)
    if place is None:
        return build()
    from hermetic.report.summary_md import Page, markdown

    try:
        ended = build()
    except HbError as error:
        place.write(markdown(Page(verb, found.args.pattern, "failed", failures=[_failure_of(error)])))
        raise
    place.write(markdown(_page(found, verb, ended)))
    return ended


def _page(found: Session, verb: str, ended: Ended) -> Page:
    from hermetic.audit.past import Past
    from hermetic.cli.compile_cache import compiled_line
    from hermetic.cli.remember import history_of
    from hermetic.report.summary_md import Page

    result = ended.result
    failed = bool(result.failures or ended.errors)
    page = Page(
        verb,
        found.args.pattern,
        "interrupted" if result.interrupted else "failed" if failed else "done",
        result.build_id,
        result.wall,
        result.counts(),
        [(row["label"], row["outcome"], row["digest"]) for row in ended.lines()],
        _failures(ended),
        reasons=None,
        compiled=compiled_line(result),
    )
    try:
        past = Past(history_of(found.store.root), found.store)
        head = next((one for one in reversed(past.heads) if one.id == result.build_id), None)
        return _told(found, page, past, head) if head is not None else page
    except (HbError, OSError) as error:
        say(f"hb: the summary says less than it could: {error}")
        return page


def _told(found: Session, page: Page, past: Past, head: Head) -> Page:
    """The page with what the history knows."""
    from dataclasses import replace

    from hermetic.audit.account import account
    from hermetic.audit.text import causes_json
    from hermetic.audit.why import HITS, why
    from hermetic.report.summary_md import Reason, Saved

    answer = why(past, head, "", found.store, found.store.read)
    hits = [number for number in answer.numbers if answer.outcome(number) in HITS]
    ran = {number: event.wall for number, event in answer.events.items() if event.outcome not in (*HITS, "skipped")}
    sums = account(answer.state, ran, hits, _times(found, past, head, answer.state, hits))
    return replace(
        page,
        saved=Saved(sums.saved, sums.hits, sums.timed),
        path=[(answer.state.steps[number].title, ran[number]) for number in sums.critical],
        reasons=[
            Reason(_titled(one["text"], one["through"]), one["details"], one["actions"], one["follow"])
            for one in causes_json(answer.explanation, answer.state)
        ],
    )


def _times(found: Session, past: Past, head: Head, state: State, hits: Sequence[int]) -> dict[int, float]:
    """How long hits took when they were made: here, by the history; elsewhere, by what their results say."""
    from hermetic.digest import Digest
    from hermetic.execution.history import durations
    from hermetic.execution.runner import usage_of
    from hermetic.store.assisted import assisted_key

    known = durations(past.history, head.workspace, {state.steps[number][:3] for number in hits})
    times = {}
    for number in hits:
        step = state.steps[number]
        seconds = known.get(step[:3])
        if seconds is None:
            key = Digest(step.key, 0)
            message = found.store.get(key) or found.store.get(assisted_key(key)) if step.key else None
            usage = usage_of(message) if message is not None else None
            seconds = usage.wall if usage is not None else None
        if seconds is not None:
            times[number] = seconds
    return times


def _titled(text: str, through: str | None) -> str:
    return f"{text}  (in {through})" if through else text


def _failures(ended: Ended) -> list[Failure]:
    from hermetic.report.summary_md import Failure

    return [
        Failure(
            f"{one.action.label} {one.action.mnemonic}",
            one.outcome.value,
            str(one.action.location),
            words(one.error) if one.error else "",
            one.tail,
        )
        for one in ended.result.failures
    ] + [_failure_of(error) for error in ended.errors]


def _failure_of(error: HbError) -> Failure:
    from hermetic.report.summary_md import Failure

    return Failure(error.label or "hb", "error", str(error.location or ""), words(error))
