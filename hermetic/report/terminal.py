"""Progress for people: on a terminal a few live lines, elsewhere one calm line per finished action.

Everything goes to stderr. A closed or narrow terminal never breaks a build. NO_COLOR is respected.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from typing import TextIO

from hermetic.action import Action
from hermetic.execution.outcome import BuildResult, Finished, Foresight, Outcome
from hermetic.report.summary import summary_line
from hermetic.sizes import show_size

SOON = 2.0  # seconds before the first prediction
SHOWN = 6  # running actions shown at once
QUIET = (Outcome.HIT_LOCAL, Outcome.HIT_REMOTE, Outcome.SKIPPED)
# not worth a line of a log
CALM_MNEMONICS = frozenset({"merge", "write", "subset", "chmeta", "deb", "debian", "python", "crate"})


class TerminalReporter:
    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._color = self._live and not os.environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Action, float]] = {}
        self._total = self._done = self._hits = 0
        self._foresight = Foresight()
        self._left = self._since = 0.0  # seconds of work, and when it began
        self._drawn = 0
        self._last = 0.0
        self._ended = threading.Event()

    def planned(self, total: int) -> None:
        with self._lock:
            self._total = total
        if self._live:
            threading.Thread(target=self._tick, daemon=True).start()

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
            seconds = f"{done.wall:6.1f} s"
            self._line(f"{self._paint(done.outcome)} {seconds}  {done.action.label} {done.action.mnemonic}")
            if done.error is not None:
                self._line(failure_text(done))
            self._draw()

    def note(self, text: str) -> None:
        with self._lock:
            self._line(text)

    def end(self, result: BuildResult) -> None:
        """The summary line."""
        self._ended.set()
        with self._lock:
            self._erase()
            for one in result.failures if len(result.failures) > 1 else ():
                self._write(f"{one.outcome.value:9} {one.action.label} ({one.error.location if one.error else ''})\n")
            word = "interrupted" if result.interrupted else "failed" if result.failures else "done"
            self._write(f"{summary_line(word, result.counts(), result.wall)}\n")

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

    def _line(self, text: str) -> None:
        self._erase()
        self._write(f"{text}\n")

    def _draw(self) -> None:
        now = time.monotonic()
        if not self._live or self._ended.is_set() or now - self._last < 0.05:
            return
        self._last = now
        self._erase()
        width = shutil.get_terminal_size((80, 24)).columns
        waiting = max(self._total - self._done - len(self._running), 0)
        counts = f"[{self._done}/{self._total}] {len(self._running)} running, {self._hits} cached, {waiting} waiting"
        lines = [counts + self._to_go(now)]
        oldest = sorted(self._running.values(), key=lambda one: one[1])
        doing = self._foresight.now()
        for action, since in oldest[:SHOWN]:
            what, size = doing.get(action.id, ("", 0))
            predicted = self._foresight.seconds.get(action.id, 0.0)
            times = f"{now - since:6.1f} s" + (f" of {predicted:.0f}" if predicted >= 1 else "")
            more = f"  {what}" * bool(what) + f"  {show_size(size)}" * bool(size)
            lines.append(f"  {times:15}  {action.label} {action.mnemonic}{more}")
        if len(oldest) > SHOWN:
            lines.append(f"  … and {len(oldest) - SHOWN} more")
        for line in lines:
            self._write(line[: max(width - 1, 10)] + "\n")
        self._drawn = len(lines)

    def _to_go(self, now: float) -> str:
        """Said once the hits are behind, and where something is to be said."""
        if now - self._since < SOON:
            return ""
        ran = {one.id: now - since for one, since in self._running.values()}
        elapsed = sum(min(ran[one], self._foresight.seconds.get(one, 0.0)) for one in ran)
        longest = max((self._foresight.rest.get(one, 0.0) - ran[one] for one in ran), default=0.0)
        seconds = max((self._left - elapsed) / max(self._foresight.jobs, 1), longest)
        if seconds < 1:
            return ""
        return f", about {seconds / 60:.0f} min to go" if seconds >= 90 else f", about {seconds:.0f} s to go"

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # the reader went away; the build goes on


def failure_text(done: Finished) -> str:
    """What a person needs of a failed action: its log's end, where it is declared, what next."""
    parts = [f"\n{done.action.label} ({done.action.mnemonic})"]
    if done.tail:
        parts.append("\n".join(f"  │ {line}" for line in done.tail.splitlines()[-40:]))
    parts.append(str(done.error))
    if done.debug:
        parts.append(f"  the sandbox's folder is kept: {done.debug}")
    return "\n".join(parts)
