"""``hb build --events FILE``: what happens, one JSON object per line, as it happens.

Guarantees: every line is complete when it is there; ``version`` changes when a field's meaning does, new
fields may come at any time. A file that cannot be written fails no build. The schema is
docs/reference/events.schema.json.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from hermetic.action import Action
from hermetic.execution.outcome import BuildResult, Finished, Foresight, Reporter

VERSION = 1


class EventReporter:
    """Tells another reporter everything, and the file, too."""

    def __init__(self, inner: Reporter, path: Path) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._foresight = Foresight()
        self._stream: TextIO | None = None
        try:
            self._stream = path.open("w", encoding="utf-8")
        except OSError as error:
            inner.note(f"the events cannot be written to {path}: {error.strerror}")

    def foreseen(self, foresight: Foresight) -> None:
        self._foresight = foresight
        self._inner.foreseen(foresight)

    def planned(self, total: int) -> None:
        self._write("planned", actions=total, predicted_s=round(max(self._foresight.rest.values(), default=0.0), 3))
        self._inner.planned(total)

    def started(self, action: Action) -> None:
        predicted = round(self._foresight.seconds.get(action.id, 0.0), 3)
        self._write("started", **_named(action), predicted_s=predicted)
        self._inner.started(action)

    def finished(self, done: Finished) -> None:
        said: dict[str, Any] = {"outcome": done.outcome.value, "key": done.key, "wall_s": round(done.wall, 3)}
        if done.usage is not None:
            said |= {"cpu_s": round(done.usage.cpu, 3), "peak_bytes": done.usage.peak, "jobs": done.usage.jobs}
        if done.error is not None:
            said["error"] = str(done.error)
        self._write("finished", **_named(done.action), **said)
        self._inner.finished(done)

    def note(self, text: str) -> None:
        self._write("note", text=text)
        self._inner.note(text)

    def end(self, result: BuildResult) -> None:
        self._write(
            "ended", build_id=result.build_id, wall_s=round(result.wall, 3), outcomes=result.counts(),
            interrupted=result.interrupted,
        )  # fmt: skip
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()

    def _write(self, event: str, **said: Any) -> None:
        line = json.dumps({"event": event, "version": VERSION, "time": round(time.time(), 3), **said})
        with self._lock, suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(line + "\n")
                self._stream.flush()


def _named(action: Action) -> dict[str, Any]:
    return {"label": action.label, "mnemonic": action.mnemonic, "settings": dict(action.settings)}
