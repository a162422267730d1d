"""A build as a page of Markdown: what a pull request shows of it.

Pure: values in, text out. Guarantees: no text of a label, a message or a log can become markup, a link, a
mention or another cell; the page stays under ``LIMIT`` whatever happened (GitHub refuses summaries over 1 MiB).
Text is escaped as HTML entities, which CommonMark takes for text in every place; logs stand in fences
longer than any they hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

LIMIT = 900_000  # bytes
ROWS = 50  # of one table
TAILS = 10  # logs shown
TAIL = 40  # lines of one
LINE = 300  # characters of one of its lines
CELL = 500  # characters
DETAILS = 4  # differences under one reason
HITS = ("hit-local", "hit-remote")
_MARKUP = re.compile(r"^ |[&<>|`*_\[\]~\\$@#\"']|:(?=//|[\w+-]+:)|(?<=www)\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """``title``: label and step. ``where``: file:line. ``tail``: the end of its log."""

    title: str
    outcome: str
    where: str
    message: str
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why actions ran: ``own`` lie in it, ``follow`` is how many others depend on those."""

    text: str
    details: Sequence[str]
    own: Sequence[str]
    follow: int


@dataclass(frozen=True, slots=True)
class Saved:
    """Work that hits stood in for, in seconds; ``timed`` of the ``hits`` are counted."""

    seconds: float
    hits: int
    timed: int


@dataclass(frozen=True, slots=True)
class Page:
    """A build. ``word``: done, failed or interrupted; ``rows``: (label, outcome, digest) of what is there;
    ``path``: the longest way through what ran, (step, seconds). ``reasons``: None when they are not known."""

    verb: str
    patterns: Sequence[str]
    word: str
    build_id: str = ""
    wall: float = 0.0
    outcomes: Mapping[str, int] | None = None
    rows: Sequence[tuple[str, str, str]] = ()
    failures: Sequence[Failure] = ()
    saved: Saved | None = None
    path: Sequence[tuple[str, float]] = ()
    reasons: Sequence[Reason] | None = ()
    compiled: str = ""  # what the compile cache did


def markdown(page: Page) -> str:
    blocks = ["\n".join(block) for block in _blocks(page) if block]
    text, dropped = "", False
    for block in blocks:  # the first say most
        if len((text + block).encode()) > LIMIT:
            dropped = True
            continue
        text += block + "\n\n"
    return text + ("_Some of this page was too long to show; see the log._\n\n" if dropped else "")


def _blocks(page: Page) -> Iterator[list[str]]:
    yield [f"## {escape(clipped(' '.join(('hb', page.verb, *page.patterns))))}: {page.word}"]
    yield _numbers(page)
    yield from _failures(page.failures)
    yield from _reasons(page)
    yield from _path(page)
    if page.outcomes:
        yield _table(("outcome", "actions"), ((word, str(count)) for word, count in page.outcomes.items()), "---:")
    if page.rows:
        rows = ((code(label), outcome, code(digest)) for label, outcome, digest in page.rows)
        yield _folded(f"{_count(len(page.rows), 'target')} shown", _table(("target", "outcome", "digest"), rows))


def _numbers(page: Page) -> list[str]:
    if page.outcomes is None:
        return []
    total = sum(page.outcomes.values())
    parts = [f"**{_count(total, 'action')}** in {duration(page.wall)}"]
    asked = total - page.outcomes.get("skipped", 0)
    if asked:
        hits = sum(page.outcomes.get(word, 0) for word in HITS)
        parts.append(f"hit rate **{100 * hits // asked} %** ({hits} of {asked})")
    if page.saved and page.saved.timed:
        parts.append(f"hits saved **{duration(page.saved.seconds)}** of work")
    if page.saved and page.saved.timed < page.saved.hits:
        parts.append(f"no time is known of {_count(page.saved.hits - page.saved.timed, 'hit')}")
    found = [" · ".join(parts)]
    if page.compiled:
        found += ["", f"Compile cache: {escape(page.compiled)}"]
    if page.build_id:
        found += ["", f"Build {code(page.build_id)}"]
    return found


def _failures(failures: Sequence[Failure]) -> Iterator[list[str]]:
    if not failures:
        return
    rows = ((code(one.title), one.outcome, code(one.where), lines(one.message)) for one in failures)
    yield ["### Failures", "", *_table(("what", "outcome", "where", "message"), rows)]
    for one in [one for one in failures if one.tail.strip()][:TAILS]:
        yield _folded(f"The end of the log of {code(one.title)}", _fenced(one.tail))


def _reasons(page: Page) -> Iterator[list[str]]:
    if page.reasons is None:
        yield ["Why actions ran is not known: this build is not in the history."]
    elif page.reasons:
        rows = ((_reason(one), _names(one.own), str(one.follow)) for one in page.reasons)
        yield ["### Why actions ran", "", *_table(("cause", "lies in", "follow"), rows, "---:")]


def _reason(one: Reason) -> str:
    more = [f"and {len(one.details) - DETAILS} more"] if len(one.details) > DETAILS else []
    return lines("\n".join((one.text, *one.details[:DETAILS], *more)))


def _names(names: Sequence[str]) -> str:
    more = [f"and {len(names) - DETAILS} more"] if len(names) > DETAILS else []
    return "<br>".join([*map(code, names[:DETAILS]), *more])


def _path(page: Page) -> Iterator[list[str]]:
    if page.path:
        total = duration(sum(seconds for _, seconds in page.path))
        rows = ((code(title), duration(seconds)) for title, seconds in page.path)
        yield [f"### Critical path: {total}", "", *_table(("step", "time"), rows, "---:")]


# --- pieces -----------------------------------------------------------------------------------------


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], last: str = "---") -> list[str]:
    """Rows of cells that are escaped already."""
    every = [f"| {' | '.join(row)} |" for row in rows]
    rules = ["---"] * (len(names) - 1) + [last]
    more = ["", f"and {len(every) - ROWS} more"] if len(every) > ROWS else []
    return [f"| {' | '.join(names)} |", f"| {' | '.join(rules)} |", *every[:ROWS], *more]


def _folded(title: str, body: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *body, "", "</details>"]


def _fenced(text: str) -> list[str]:
    shown = [_plain(line, "\t")[:LINE] for line in text.splitlines()[-TAIL:]]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *shown, fence]


def lines(text: str) -> str:
    """Lines of text as one cell."""
    return "<br>".join(escape(line.strip()) for line in clipped(text).splitlines() if line.strip())


def code(text: str) -> str:
    return f"<code>{escape(clipped(text))}</code>" if text else ""


def escape(text: str) -> str:
    """One line of text that stays text."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", _plain(text))


def _plain(text: str, keep: str = "") -> str:
    """Without what cannot be seen or would turn the text around."""
    return "".join(one if one.isprintable() or one in keep else f"\\x{ord(one):02x}" for one in text)


def clipped(text: str) -> str:
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


def duration(seconds: float) -> str:
    """``0.3 s``, ``5 min 10 s``, ``2 h 5 min``."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
