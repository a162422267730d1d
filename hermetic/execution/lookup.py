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
from hermetic.store.assisted import admissible, assisted_key, mark_of
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
        """The stored result of a key, here or in the remote cache. One made with a compile cache counts
        when the action may use one, and only when there is no other."""
        hit = self._here(action, keyed) or self.remote(action, keyed)
        if hit is None and self._assisted(action):
            hit = self._here(action, keyed, assisted=True) or self.remote(action, keyed, assisted=True)
        return hit

    def fetched(self, action: Action, keyed: Keyed) -> Finished | None:
        """The same for what a pin names, which may be here without a result."""
        return self.here(action, keyed) or self._pinned(action, keyed) or self.remote(action, keyed)

    def here(self, action: Action, keyed: Keyed) -> Finished | None:
        hit = self._here(action, keyed)
        return hit or (self._here(action, keyed, assisted=True) if self._assisted(action) else None)

    def _here(self, action: Action, keyed: Keyed, *, assisted: bool = False) -> Finished | None:
        with self.runner.spans.span("local cache") as span:
            message = self.runner.cache.get(assisted_key(keyed.key) if assisted else keyed.key)
            hit = self._usable(action, keyed, message, Outcome.HIT_LOCAL, assisted)
            span.say(result="hit" if hit else "miss")
        return hit

    def _assisted(self, action: Action) -> bool:
        return self.runner.compile_cache is not None and self.runner.compile_cache.wanted(action)

    def remote(self, action: Action, keyed: Keyed, *, assisted: bool = False) -> Finished | None:
        if self.runner.remote is None:
            return None
        with self.runner.spans.span("remote cache") as span:
            message = self.runner.remote(assisted_key(keyed.key) if assisted else keyed.key)
            hit = self._usable(action, keyed, message, Outcome.HIT_REMOTE, assisted)
            span.say(result="hit" if hit else "miss")
        if hit is None or message is None:
            return None
        self.runner.store.put(keyed.command)  # as if it had run here: hb why compares old command lines
        return replace(hit, usage=usage_of(message))

    def _usable(
        self, action: Action, keyed: Keyed, message: pb.ActionResult | None, outcome: Outcome, assisted: bool
    ) -> Finished | None:
        """A hit, when all that the result names at first sight can be had."""
        if message is None or not admissible(message, assisted=assisted):
            return None
        outputs = outputs_of(action, message)
        if outputs is None or self.runner.store.missing(one.digest for one in outputs.values()):
            return None
        return Finished(action, outcome, outputs, keyed.key.hash, assisted=mark_of(message) if assisted else None)

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
