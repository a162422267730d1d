"""Progress for people: on a terminal a few live lines, elsewhere one calm line per finished action.

Guarantees: everything goes to stderr; a closed, narrow, low or resized terminal never breaks a build, and no line
written above the live ones is taken back. NO_COLOR, TERM=dumb and CI are respected; where the terminal's
encoding has no such characters, ASCII stands in for them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TextIO

from hermetic.action import Action
from hermetic.execution.outcome import BuildResult, Finished, Foresight, Outcome
from hermetic.plainly import sayable
from hermetic.report.live import Running, Totals, block, clipped, plain
from hermetic.report.summary import summary_line

SOON = 2.0  # seconds before the first prediction
OFTEN = 0.05  # seconds between two drawings
SHOWN = 20  # running actions shown at once, on a terminal of that height
QUIET = (Outcome.HIT_LOCAL, Outcome.HIT_REMOTE, Outcome.SKIPPED)
# not worth a line of a log
CALM_MNEMONICS = frozenset({"merge", "write", "subset", "chmeta", "deb", "debian", "python", "crate"})


class TerminalReporter:
    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        tty = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._live = tty and os.environ.get("CI", "").lower() in ("", "0", "false")
        self._color = tty and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Action, float]] = {}
        self._total = self._done = self._hits = 0
        self._foresight = Foresight()
        self._left = self._since = 0.0  # seconds of work, and when it began
        self._drawn = 0  # live lines that are on the terminal
        self._last = 0.0
        self._ended = threading.Event()
        self._ticking: threading.Thread | None = None

    def planned(self, total: int) -> None:
        with self._lock:
            self._total, self._done, self._hits = total, 0, 0
            if self._live and self._ticking is None:
                self._ticking = threading.Thread(target=self._tick, name="display", daemon=True)
                self._ticking.start()

    def foreseen(self, foresight: Foresight) -> None:
        with self._lock:
            self._foresight = foresight
            self._left = sum(foresight.seconds.values())
            self._since = time.monotonic()

    def started(self, action: Action) -> None:
        with self._lock:
            self._running[action.id] = (action, time.monotonic())
            self._draw()

    def finished(self, done: Finished) -> None:
        with self._lock:
            self._running.pop(done.action.id, None)
            self._done += 1
            self._left -= self._foresight.seconds.get(done.action.id, 0.0)
            self._hits += done.outcome in (Outcome.HIT_LOCAL, Outcome.HIT_REMOTE)
            if done.outcome in QUIET or (done.action.mnemonic in CALM_MNEMONICS and done.error is None):
                self._draw()
                return
            text = f"{self._paint(done.outcome)} {done.wall:6.1f} s  {done.action.label} {done.action.mnemonic}"
            self._say(text if done.error is None else f"{text}\n{failure_text(done)}")

    def note(self, text: str) -> None:
        with self._lock:
            self._say(plain(text))

    def end(self, result: BuildResult) -> None:
        """The summary line."""
        self._ended.set()
        with self._lock:
            lines = [
                f"{one.outcome.value:9} {one.action.label} ({one.error.location if one.error else ''})"
                for one in (result.failures if len(result.failures) > 1 else ())
            ]
            word = "interrupted" if result.interrupted else "failed" if result.failures else "done"
            self._say("\n".join([*lines, summary_line(word, result.counts(), result.wall)]))

    # --- drawing ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Elapsed times go on while nothing happens."""
        while not self._ended.wait(0.5):
            with self._lock:
                self._draw()

    def _paint(self, outcome: Outcome) -> str:
        text = f"{outcome.value:9}"
        if not self._color:
            return text
        good = outcome in (Outcome.BUILT, Outcome.EVICTED)
        return f"\x1b[{32 if good else 31}m{text}\x1b[0m"

    def _say(self, text: str) -> None:
        """Lines that stay, above the live ones."""
        self._write(text + "\n", self._block() if self._live and not self._ended.is_set() else [])

    def _draw(self) -> None:
        if self._live and not self._ended.is_set() and time.monotonic() - self._last >= OFTEN:
            self._write("", self._block())

    def _block(self) -> list[str]:
        self._last = now = time.monotonic()
        columns, rows = _size(self._stream)
        if rows < 2:
            return []  # nothing could be taken back
        doing = self._foresight.now()
        running = []
        for action, since in sorted(self._running.values(), key=lambda one: one[1]):
            phase, memory = doing.get(action.id, ("", 0))
            predicted = self._foresight.seconds.get(action.id, 0.0)
            running.append(Running(action.label, action.mnemonic, now - since, predicted, phase, memory))
        waiting = max(self._total - self._done - len(running), 0)
        totals = Totals(self._done, self._total, len(running), self._hits, waiting, self._to_go(now))
        lines = block(totals, running, max(columns - 1, 1), min(rows // 2, SHOWN + 1))
        # Again: what stands in for a character may be wider.
        return [clipped(sayable(line, self._stream.encoding), max(columns - 1, 1)) for line in lines]

    def _to_go(self, now: float) -> float:
        """Said once the hits are behind, and where something is to be said."""
        if now - self._since < SOON:
            return 0.0
        ran = {one.id: now - since for one, since in self._running.values()}
        elapsed = sum(min(ran[one], self._foresight.seconds.get(one, 0.0)) for one in ran)
        longest = max((self._foresight.rest.get(one, 0.0) - ran[one] for one in ran), default=0.0)
        return max((self._left - elapsed) / max(self._foresight.jobs, 1), longest)

    def _write(self, text: str, live: list[str]) -> None:
        """Text that stays, then live lines, in the place of the last ones: in one piece, so that nothing flickers."""
        up = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        self._drawn = len(live)
        whole = up + text + "".join(f"{line}\n" for line in live)
        try:
            self._stream.write(sayable(whole, self._stream.encoding))
            self._stream.flush()
        except (OSError, ValueError):
            pass  # the reader went away; the build goes on


def failure_text(done: Finished) -> str:
    """What a person needs of a failed action: its log's end, where it is declared, what next."""
    parts = [f"\n{done.action.label} ({done.action.mnemonic})"]
    if done.tail:
        parts.append("\n".join(f"  │ {line}" for line in plain(done.tail).splitlines()[-40:]))
    parts.append(plain(str(done.error)))
    if done.debug:
        parts.append(f"  the sandbox's folder is kept: {done.debug}")
    return "\n".join(parts)


def _size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal behind a stream; stdout may be a file. COLUMNS and LINES have precedence."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 80, 24
    said = (os.environ.get(name, "") for name in ("COLUMNS", "LINES"))
    found = [int(text) if text.isascii() and text.isdecimal() else 0 for text in said]
    return found[0] or columns or 80, found[1] or rows or 24
