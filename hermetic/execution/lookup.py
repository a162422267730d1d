"""Keys and stored results of actions: what need not run.

Guarantees: a result counts only when all it names at first sight can be had; a blob that a pin names is
believed once its bytes were read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hermetic.action import Action, Kind, Mode, Ref
from hermetic.digest import Digest
from hermetic.errors import ActionError
from hermetic.execution.keys import Keyed, key_of
from hermetic.execution.operations import operation
from hermetic.execution.outcome import Finished, Outcome
from hermetic.execution.runner import Runner, outputs_of, result_message, usage_of
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.operation import Resolved
from hermetic.store.protocols import MissingBlob


@dataclass(frozen=True, slots=True)
class Lookup:
    runner: Runner
    dry_run: bool = False

    def key(self, action: Action, made: Mapping[tuple[str, str], Resolved]) -> Keyed:
        """``made``: outputs of the actions it depends on."""

        def resolve(ref: Ref) -> Resolved:
            return self.runner.sources.resolve(ref, made)

        version = operation(action.argv[0]).full_version(action.argv[1]) if action.mode is Mode.INTERNAL else ""
        try:
            with self.runner.spans.span("key"):
                return key_of(action, resolve, self.runner.store, version or ("1" if action.mode is Mode.FETCH else ""))
        except ActionError as error:
            raise error.at(action.location, action.label) from None

    def find(self, action: Action, keyed: Keyed) -> Finished | None:
        """The stored result of a key, here or in the remote cache."""
        return self.here(action, keyed) or self.remote(action, keyed)

    def fetched(self, action: Action, keyed: Keyed) -> Finished | None:
        """The same for what a pin names, which may be here without a result."""
        return self.here(action, keyed) or self._pinned(action, keyed) or self.remote(action, keyed)

    def here(self, action: Action, keyed: Keyed) -> Finished | None:
        with self.runner.spans.span("local cache") as span:
            hit = self._usable(action, keyed, self.runner.cache.get(keyed.key), Outcome.HIT_LOCAL)
            span.say(result="hit" if hit else "miss")
        return hit

    def remote(self, action: Action, keyed: Keyed) -> Finished | None:
        if self.runner.remote is None:
            return None
        with self.runner.spans.span("remote cache") as span:
            message = self.runner.remote(keyed.key)
            hit = self._usable(action, keyed, message, Outcome.HIT_REMOTE)
            span.say(result="hit" if hit else "miss")
        if hit is None or message is None:
            return None
        self.runner.store.put(keyed.command)  # as if it had run here: hb why compares old command lines
        return replace(hit, usage=usage_of(message))

    def _usable(
        self, action: Action, keyed: Keyed, message: pb.ActionResult | None, outcome: Outcome
    ) -> Finished | None:
        """A hit, when all that the result names at first sight can be had."""
        outputs = outputs_of(action, message) if message is not None else None
        if outputs is None or self.runner.store.missing(one.digest for one in outputs.values()):
            return None
        return Finished(action, outcome, outputs, keyed.key.hash)

    def _pinned(self, action: Action, keyed: Keyed) -> Finished | None:
        pin = json.loads(action.argv[1]).get("sha256")
        digest = self.runner.store.find_sha256(pin) if isinstance(pin, str) else None
        if digest is None or not self._sound(digest):
            return None
        outputs = {output.name: Resolved(Kind.BLOB, digest) for output in action.outputs}
        if not self.dry_run:
            self.runner.store.put(keyed.command)
            self.runner.cache.put_result(keyed.key, result_message(action, outputs, keyed))
        return Finished(action, Outcome.HIT_LOCAL, outputs, keyed.key.hash)

    def _sound(self, digest: Digest) -> bool:
        """A pin says no size, so a torn blob shows only in its bytes. Looked at once: then it has a result."""
        try:
            with self.runner.store.open(digest) as stream:
                return Digest.of_file(stream) == digest
        except MissingBlob:
            return False
