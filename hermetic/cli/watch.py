"""Who listens to what a command does: ``--profile``, and a collector where OpenTelemetry's variables name one.

Guarantees: with neither, nothing is recorded and nothing imported; what was recorded is written however the command
ended; a file that cannot be written and a collector that cannot be reached cost a note, never the command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermetic.spans import UNHEARD, Spans, Value

if TYPE_CHECKING:
    import argparse

    from hermetic.action import ActionGraph
    from hermetic.execution.outcome import BuildResult
    from hermetic.report.timeline import Timeline
    from hermetic.spans import Recorder

OPTIONS = ("--profile", "--events")  # they watch a build, and change nothing in it
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def unwatched(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command line without the options that only watch, and those: option → file."""
    rest: list[str] = []
    files: dict[str, str] = {}
    words = iter(command)
    for word in words:
        option, has_value, value = word.partition("=")
        if option in OPTIONS:
            files[option] = value if has_value else next(words, "")
        else:
            rest.append(word)
            if word == "--":
                break  # what follows is a program's own
    return [*rest, *words], files


def collected(environment: Mapping[str, str]) -> bool:
    """Whether a collector of traces is named and wanted, in the words of OpenTelemetry's specification."""
    if not any(environment.get(name) for name in ENDPOINTS):
        return False
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").replace(" ", "").split(",")
    wanted = exporters == [""] or "otlp" in exporters
    return wanted and environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


@dataclass
class Watch:
    """``spans``: where the command says what it does. What was built is told as it is known."""

    spans: Spans = UNHEARD
    graph: ActionGraph | None = None
    result: BuildResult | None = None

    def built(self, graph: ActionGraph, result: BuildResult) -> None:
        self.graph, self.result = graph, result

    def said(self) -> dict[str, Value]:
        """What is known of the whole at its end."""
        if self.result is None:
            return {}
        counts = {word.replace("-", "_"): count for word, count in self.result.counts().items()}
        return {"build_id": self.result.build_id, "actions": self.result.actions, **counts}


@contextmanager
def watching(args: argparse.Namespace) -> Iterator[Watch]:
    """Of a parsed command: one that builds has --profile."""
    profile = getattr(args, "profile", None) or ""
    patterns = getattr(args, "pattern", None) or [getattr(args, "label", "")]
    with watched(getattr(args, "verb", ""), patterns, profile, hasattr(args, "profile")) as watch:
        yield watch


@contextmanager
def watched(verb: str, patterns: Sequence[str], profile: str, builds: bool = True) -> Iterator[Watch]:
    collect = builds and collected(os.environ)
    if not (profile or collect):
        yield Watch()
        return
    from hermetic.spans import Recorder

    recorder = Recorder()
    watch = Watch(recorder)
    try:
        with recorder.span("build", verb=verb, patterns=tuple(patterns)) as whole:
            try:
                yield watch
            finally:
                whole.say(**watch.said())
    finally:
        tell(_timeline(watch, recorder), profile, collect)


def tell(timeline: Timeline, profile: str, collect: bool) -> None:
    """Write what was recorded, and send it."""
    from pathlib import Path

    from hermetic.cli.streams import say

    if profile:
        from hermetic.report.trace import write

        try:
            write(Path(profile), timeline)
        except OSError as error:
            say(f"hb: the profile {profile} cannot be written: {error.strerror}")
    if collect:
        from hermetic.report.otel import export

        note = export(timeline, os.environ)
        if note:
            say(f"hb: {note}")


def _timeline(watch: Watch, recorder: Recorder) -> Timeline:
    from hermetic.report.timeline import Timeline, critical_path, ends

    spans = recorder.spans
    path = critical_path(watch.graph, ends(spans)) if watch.graph is not None else ()
    return Timeline(recorder.began, epoch(recorder.began), spans, recorder.counts, path)


def epoch(monotonic: float) -> float:
    """A moment of the monotonic clock in seconds since 1970."""
    return time.time() - (time.monotonic() - monotonic)
