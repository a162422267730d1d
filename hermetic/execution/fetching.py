"""Fetch actions, many at once: what is not stored goes to the fetcher of its operation together."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from hermetic.action import Action
from hermetic.errors import FetchError, HbError
from hermetic.execution.keys import Keyed
from hermetic.execution.lookup import Lookup
from hermetic.execution.outcome import Finished, Outcome, Reporter
from hermetic.execution.runner import result_message
from hermetic.fetch.spec import FetchRequest
from hermetic.store.operation import Resolved
from hermetic.store.stage import remove_tree

Fetch = Callable[[str, Sequence[FetchRequest], Path], Sequence[Resolved | FetchError]]
BATCH = 64  # requests of one operation that a fetcher gets at once


@dataclass(frozen=True, slots=True)
class Fetching:
    lookup: Lookup
    fetch: Fetch
    reporter: Reporter
    width: int  # looked for at the same time
    missed: Callable[[str], None] = lambda _: None  # told which action is fetched

    def now(self, actions: list[Action]) -> list[Finished]:
        """Pins that are in the store are hits; the rest goes to the fetcher together."""
        done: dict[str, Finished] = {}
        left: list[tuple[Action, Keyed]] = []
        with ThreadPoolExecutor(self.width, "look") as pool:
            found = list(pool.map(self._before, actions))
        for action, (keyed, hit) in zip(actions, found, strict=True):
            if hit is not None:
                done[action.id] = hit
            elif self.lookup.dry_run:
                self.lookup.runner.store.put(keyed.command)
                done[action.id] = Finished(action, Outcome.SKIPPED, key=keyed.key.hash, trace=keyed.trace)
            else:
                left.append((action, keyed))
        if left:
            done.update(self._fetched(left))
        return [done[action.id] for action in actions]

    def _before(self, action: Action) -> tuple[Keyed, Finished | None]:
        with self.lookup.runner.spans.span("look", label=action.label, mnemonic=action.mnemonic) as span:
            keyed = self.lookup.key(action, {})
            hit = self.lookup.fetched(action, keyed)
            span.say(key=keyed.key.hash, outcome=hit.outcome.value if hit else "miss")
            return keyed, hit

    def _fetched(self, left: Sequence[tuple[Action, Keyed]]) -> dict[str, Finished]:
        for action, _ in left:
            self.missed(action.id)
            self.reporter.started(action)
        started = time.monotonic()
        requests = [
            FetchRequest(action.label, json.loads(action.argv[1]), json.loads(action.unkeyed), action.secrets)
            for action, _ in left
        ]
        runner = self.lookup.runner
        work = Path(tempfile.mkdtemp(dir=runner.scratch))
        try:
            operation = left[0][0].argv[0]
            named = tuple(action.id for action, _ in left)
            with runner.spans.span("fetch", operation=operation, actions=named):
                replies = self.fetch(operation, requests, work)
        finally:
            remove_tree(work)
        wall = time.monotonic() - started
        done: dict[str, Finished] = {}
        for (action, keyed), reply in zip(left, replies, strict=True):
            if isinstance(reply, FetchError):
                lost = failed(action, reply, wall)
                done[action.id] = replace(lost, key=keyed.key.hash, trace=keyed.trace)
                continue
            outputs = {output.name: reply for output in action.outputs}
            runner.store.put(keyed.command)
            runner.cache.put_result(keyed.key, result_message(action, outputs, keyed))
            built = Finished(action, Outcome.BUILT, outputs, keyed.key.hash, wall / len(left))
            done[action.id] = replace(built, trace=keyed.trace)
        return done


def failed(action: Action, error: HbError, wall: float = 0.0) -> Finished:
    return Finished(action, Outcome.FAILED, wall=wall, error=error.at(action.location, action.label))
