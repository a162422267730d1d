"""The executor: walks the action graph, asks the cache, runs what is left.

Guarantees: an action starts when everything it depends on has a result; equal keys run once; a failure
stops what depends on it and, unless told to keep going, everything not yet started; a result whose
blobs are gone is made again inside the same build. Only the loop below changes shared state; workers
get values and return values.
"""

from __future__ import annotations

import errno
import json
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from hermetic import tree
from hermetic.action import Action, ActionGraph, Kind, Mode, Ref
from hermetic.analysis.codec import made_in
from hermetic.digest import Digest
from hermetic.errors import ActionError, FetchError, HbError, InternalError
from hermetic.execution.interrupt import impatient
from hermetic.execution.keys import Keyed, key_of
from hermetic.execution.operations import operation
from hermetic.execution.outcome import GOOD, BuildResult, Finished, Outcome, Reporter
from hermetic.execution.runner import Runner, outputs_of, result_message
from hermetic.fetch.spec import FetchRequest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import refusal
from hermetic.store.operation import Resolved
from hermetic.store.protocols import MissingBlob
from hermetic.store.stage import remove_tree

Fetch = Callable[[str, Sequence[FetchRequest], Path], Sequence[Resolved | FetchError]]
BATCH = 64  # requests of one operation that a fetcher gets at once


@dataclass(frozen=True)
class Options:
    """``lookers``: actions beyond ``jobs`` that may be looked for in a remote cache at the same time."""

    jobs: int
    keep_going: bool = False
    dry_run: bool = False
    lookers: int = 0


@dataclass(frozen=True)
class Earlier:
    """What an earlier build knows of the graph to be built, or of a larger one it is part of: outputs of
    actions outside it (``known``, by action and output), results of the actions in it (``before``) and of
    those that are what they were and see no changed source (``results``; if no input moved, they need not
    be looked at), what such an action ``needs``, and its key (``keys``; where there is none, a passed
    action is counted and not reported). ``unchanged``: how many actions are outside."""

    known: Mapping[tuple[str, str], Resolved] = field(default_factory=dict)
    before: Mapping[str, Mapping[str, Resolved]] = field(default_factory=dict)
    results: Mapping[str, Mapping[str, Resolved]] = field(default_factory=dict)
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    unchanged: int = 0


@dataclass
class _State:
    """Where the build stands. Touched by the loop only."""

    waiting: dict[str, set[str]] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    fetches: list[str] = field(default_factory=list)
    running: int = 0
    fetching: bool = False
    finished: dict[str, Finished] = field(default_factory=dict)
    made: dict[tuple[str, str], Resolved] = field(default_factory=dict)
    stopping: bool = False
    again: set[str] = field(default_factory=set)  # actions whose stored result must not be used
    retried: set[str] = field(default_factory=set)  # actions that lost an input once already
    moved: set[str] = field(default_factory=set)  # actions whose outputs are not those of the earlier build
    same: list[str] = field(default_factory=list)  # actions found to see what they saw then, to be settled
    passed: set[str] = field(default_factory=set)  # … and settled


class Executor:
    def __init__(
        self,
        graph: ActionGraph,
        runner: Runner,
        fetch: Fetch,
        reporter: Reporter,
        options: Options,
        earlier: Earlier | None = None,
    ) -> None:
        """``earlier``: what an earlier build of a larger graph knows."""
        self.graph = graph
        self.runner = runner
        self.fetch = fetch
        self.reporter = reporter
        self.options = options
        self.earlier = earlier or Earlier()
        self._events: queue.Queue[list[Finished]] = queue.Queue()
        self._flight: dict[Digest, Future[Finished]] = {}
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(options.jobs)
        self._width = options.jobs + options.lookers

    def run(self, build_id: str, again: Iterable[str] = ()) -> BuildResult:
        """Build every output of the requested targets. ``again``: actions whose stored results are
        known to be incomplete."""
        started = time.monotonic()
        state = self._plan()
        state.again.update(again)
        self.reporter.planned(len(state.waiting))
        interrupted = False
        with ThreadPoolExecutor(self._width) as pool, ThreadPoolExecutor(1) as fetchers:
            try:
                self._loop(state, pool, fetchers)
            except KeyboardInterrupt:
                interrupted = True
                self.runner.cancel.set()  # type: ignore[attr-defined]
                self.reporter.note("interrupted: ending what runs; once more ends hb at once")
                with impatient():
                    pool.shutdown(wait=True, cancel_futures=True)
                    fetchers.shutdown(wait=True, cancel_futures=True)
        self._skip_the_rest(state)
        unchanged = self.earlier.unchanged + len(state.passed)
        return BuildResult(build_id, state.finished, time.monotonic() - started, interrupted, unchanged)

    # --- the loop ---------------------------------------------------------------------------------

    def _plan(self) -> _State:
        """What is needed for the requested outputs, and what waits for what."""
        state = _State(made=dict(self.earlier.known))
        given = {action for action, _ in self.earlier.known}
        pending = [
            made.action
            for name in self.graph.requested
            for _, ref in self.graph.targets[name].outputs
            if (made := made_in(ref)) is not None
        ]
        while pending:
            action_id = pending.pop()
            if action_id in state.waiting or action_id in given:
                continue
            needs = self._needs(action_id) - given
            state.waiting[action_id] = set(needs)
            for need in needs:
                state.users.setdefault(need, []).append(action_id)
            pending += needs
        for action_id in sorted(state.waiting):
            if not state.waiting[action_id]:
                self._enqueue(state, action_id)
        return state

    def _needs(self, action_id: str) -> set[str]:
        if action_id in self.earlier.needs:
            return set(self.earlier.needs[action_id])
        return {made.action for one in self.graph.actions[action_id].inputs if (made := made_in(one.ref))}

    def _enqueue(self, state: _State, action_id: str) -> None:
        known = action_id in self.earlier.results and action_id not in state.again
        if known and state.moved.isdisjoint(self.earlier.needs[action_id]):
            state.same.append(action_id)
            return
        is_fetch = self.graph.actions[action_id].mode is Mode.FETCH
        (state.fetches if is_fetch else state.ready).append(action_id)

    def _loop(self, state: _State, pool: ThreadPoolExecutor, fetchers: ThreadPoolExecutor) -> None:
        while True:
            while state.same:
                self._pass(state, state.same.pop())
            if not state.stopping:
                self._start(state, pool, fetchers)
            if not state.running and not state.fetching:
                return
            for done in self._events.get():
                self._settle(state, done)

    def _start(self, state: _State, pool: ThreadPoolExecutor, fetchers: ThreadPoolExecutor) -> None:
        while state.ready and state.running < self._width:
            action = self.graph.actions[state.ready.pop()]
            state.running += 1
            pool.submit(self._guarded, [action], self._one, action, state)
        if state.fetches and not state.fetching:
            first = self.graph.actions[state.fetches[0]]
            batch = [one for one in state.fetches if self.graph.actions[one].argv[0] == first.argv[0]][:BATCH]
            state.fetches = [one for one in state.fetches if one not in set(batch)]
            actions = [self.graph.actions[one] for one in batch]
            state.fetching = True
            fetchers.submit(self._guarded, actions, self.fetch_now, actions)

    def _guarded(self, actions: list[Action], work: Callable[..., list[Finished]], *arguments: object) -> None:
        """Whatever happens in a worker becomes an event."""
        try:
            done = work(*arguments)
        except HbError as error:
            done = [_failed(action, error) for action in actions]
        except BaseException as error:
            done = [_failed(action, _meaning(error, self.runner.scratch)) for action in actions]
        self._events.put(done)

    def _settle(self, state: _State, done: Finished) -> None:
        action_id = done.action.id
        if done.action.mode is Mode.FETCH:
            state.fetching = False
        else:
            state.running -= 1
        if isinstance(done.error, MissingBlob) and self._rewind(state, done.action):
            return
        if action_id in state.again and done.outcome is Outcome.BUILT:
            done = replace(done, outcome=Outcome.EVICTED)
        state.finished[action_id] = done
        self.reporter.finished(done)
        if done.outcome not in GOOD:
            self._cascade(state, action_id)
            if done.error is not None:
                state.stopping = state.stopping or not self.options.keep_going
            return
        if done.outputs != self.earlier.before.get(action_id):
            state.moved.add(action_id)
        self._hand_on(state, action_id, done.outputs)

    def _pass(self, state: _State, action_id: str) -> None:
        """Nothing the action sees has changed since the earlier build, so its result is what it was."""
        outputs = self.earlier.results[action_id]
        if action_id in self.earlier.keys:
            action, key = self.graph.actions[action_id], self.earlier.keys[action_id]
            state.finished[action_id] = done = Finished(action, Outcome.HIT_LOCAL, outputs, key)
            self.reporter.finished(done)
        else:
            state.passed.add(action_id)
        self._hand_on(state, action_id, outputs)

    def _hand_on(self, state: _State, action_id: str, outputs: Mapping[str, Resolved]) -> None:
        for name, resolved in outputs.items():
            state.made[action_id, name] = resolved
        for user in state.users.get(action_id, ()):
            if action_id in state.waiting[user] and user not in state.finished:
                state.waiting[user].discard(action_id)
                if not state.waiting[user]:
                    self._enqueue(state, user)

    def _cascade(self, state: _State, action_id: str) -> None:
        """Everything that depends on a failed action is skipped."""
        pending = list(state.users.get(action_id, ()))
        while pending:
            user = pending.pop()
            if user not in state.finished:
                state.finished[user] = Finished(self.graph.actions[user], Outcome.SKIPPED)
                pending += state.users.get(user, ())

    def _skip_the_rest(self, state: _State) -> None:
        for action_id in state.waiting:
            if action_id not in state.finished and action_id not in state.passed:
                state.finished[action_id] = Finished(self.graph.actions[action_id], Outcome.SKIPPED)

    # --- lost blobs -------------------------------------------------------------------------------

    def _rewind(self, state: _State, action: Action) -> bool:
        """Make the producers of an action's lost inputs run again, those of their lost inputs first (a
        merge made anew has again what its own inputs lack), and the action after them."""
        waits: dict[str, set[str]] = {}
        pending = [action]
        while pending:
            one = pending.pop()
            lacking = self._lacking(state, one)
            if lacking is None:
                return False
            lost, coming = lacking
            waits[one.id] = lost | coming
            pending += [self.graph.actions[name] for name in lost if name not in waits]
        if not waits[action.id]:
            if action.id in state.retried:
                return False
            state.retried.add(action.id)
        for action_id, needs in waits.items():
            state.waiting[action_id] = needs
            if action_id != action.id:
                state.again.add(action_id)
                del state.finished[action_id]
            if not needs:
                self._enqueue(state, action_id)
        return True

    def _lacking(self, state: _State, action: Action) -> tuple[set[str], set[str]] | None:
        """The producers of an action's incomplete inputs: those to run again, and those that run anyway.
        None when one of them is not ours to run."""
        lost, coming = set(), set()
        for made in filter(None, (made_in(one.ref) for one in action.inputs)):
            if (made.action, made.output) in self.earlier.known or made.action in state.passed:
                if not self.complete(state.made[made.action, made.output]):
                    return None  # the earlier build's results are not all there any more
            elif made.action not in state.finished:
                coming.add(made.action)  # another user of it was here first
            elif made.action not in state.again and not self.complete(state.made[made.action, made.output]):
                lost.add(made.action)
        return lost, coming

    def complete(self, resolved: Resolved) -> bool:
        """Whether every blob of an artifact is in the store."""
        store = self.runner.store
        if not store.has(resolved.digest):
            return False
        if resolved.kind is Kind.BLOB:
            return True
        try:
            nodes = tree.walk(resolved.digest, store.read)
            return not store.missing(node.digest for _, node in nodes if isinstance(node, tree.File))
        except MissingBlob:
            return False

    # --- workers ----------------------------------------------------------------------------------

    def _one(self, action: Action, state: _State) -> list[Finished]:
        keyed = self._key(action, state.made)
        if action.id not in state.again:
            hit = self.lookup(action, keyed)
            if hit is not None:
                return [hit]
        if self.options.dry_run:
            self.runner.store.put(keyed.command)  # the plan says what in it differs
            return [Finished(action, Outcome.SKIPPED, key=keyed.key.hash, trace=keyed.trace)]
        with self._lock:
            twin = None if action.id in state.again else self._flight.get(keyed.key)
            if twin is None:
                future = self._flight[keyed.key] = Future()
        if twin is not None:
            return [_as_twin(action, twin.result())]
        done: Finished | None = None
        try:
            done = self._run(action, keyed, state)
            future.set_result(done)
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            # A good result stays known: an equal action may have looked into the cache before it was there.
            if done is None or done.outcome not in GOOD:
                with self._lock:
                    self._flight.pop(keyed.key, None)
        return [done]

    def _run(self, action: Action, keyed: Keyed, state: _State) -> Finished:
        """Run an action when one of ``jobs`` slots is free, unless the build is stopping by then."""
        with self._slots:
            if state.stopping:
                return Finished(action, Outcome.SKIPPED, key=keyed.key.hash, trace=keyed.trace)
            self.reporter.started(action)
            return replace(self.runner.run(action, keyed), trace=keyed.trace)

    def _key(self, action: Action, made: Mapping[tuple[str, str], Resolved]) -> Keyed:
        def resolve(ref: Ref) -> Resolved:
            return self.runner.sources.resolve(ref, made)

        version = operation(action.argv[0]).full_version(action.argv[1]) if action.mode is Mode.INTERNAL else ""
        try:
            return key_of(action, resolve, self.runner.store, version or ("1" if action.mode is Mode.FETCH else ""))
        except ActionError as error:
            raise error.at(action.location, action.label) from None

    def lookup(self, action: Action, keyed: Keyed) -> Finished | None:
        """The stored result of a key, here or in the remote cache."""
        return self._here(action, keyed) or self._remote(action, keyed)

    def _here(self, action: Action, keyed: Keyed) -> Finished | None:
        return self._usable(action, keyed, self.runner.cache.get(keyed.key), Outcome.HIT_LOCAL)

    def _remote(self, action: Action, keyed: Keyed) -> Finished | None:
        message = self.runner.remote(keyed.key) if self.runner.remote is not None else None
        return self._usable(action, keyed, message, Outcome.HIT_REMOTE)

    def _usable(
        self, action: Action, keyed: Keyed, message: pb.ActionResult | None, outcome: Outcome
    ) -> Finished | None:
        """A hit, when all that the result names at first sight can be had."""
        outputs = outputs_of(action, message) if message is not None else None
        if outputs is None or self.runner.store.missing(one.digest for one in outputs.values()):
            return None
        return Finished(action, outcome, outputs, keyed.key.hash)

    def fetch_now(self, actions: list[Action]) -> list[Finished]:
        """Pins that are in the store are hits; the rest goes to the fetcher together."""
        done: dict[str, Finished] = {}
        left: list[tuple[Action, Keyed]] = []
        with ThreadPoolExecutor(self._width) as pool:
            found = list(pool.map(self._fetched_before, actions))
        for action, (keyed, hit) in zip(actions, found, strict=True):
            if hit is not None:
                done[action.id] = hit
            elif self.options.dry_run:
                self.runner.store.put(keyed.command)
                done[action.id] = Finished(action, Outcome.SKIPPED, key=keyed.key.hash, trace=keyed.trace)
            else:
                left.append((action, keyed))
        if left:
            done.update(self._fetched(left))
        return [done[action.id] for action in actions]

    def _fetched_before(self, action: Action) -> tuple[Keyed, Finished | None]:
        keyed = self._key(action, {})
        return keyed, self._here(action, keyed) or self._pinned(action, keyed) or self._remote(action, keyed)

    def _pinned(self, action: Action, keyed: Keyed) -> Finished | None:
        pin = json.loads(action.argv[1]).get("sha256")
        digest = self.runner.store.find_sha256(pin) if isinstance(pin, str) else None
        if digest is None or not self._sound(digest):
            return None
        outputs = {output.name: Resolved(Kind.BLOB, digest) for output in action.outputs}
        if not self.options.dry_run:
            self.runner.cache.put_result(keyed.key, result_message(action, outputs, keyed))
        return Finished(action, Outcome.HIT_LOCAL, outputs, keyed.key.hash)

    def _sound(self, digest: Digest) -> bool:
        """A pin says no size, so a torn blob shows only in its bytes. Looked at once: then it has a result."""
        try:
            with self.runner.store.open(digest) as stream:
                return Digest.of_file(stream) == digest
        except MissingBlob:
            return False

    def _fetched(self, left: Sequence[tuple[Action, Keyed]]) -> dict[str, Finished]:
        for action, _ in left:
            self.reporter.started(action)
        started = time.monotonic()
        requests = [
            FetchRequest(action.label, json.loads(action.argv[1]), json.loads(action.unkeyed)) for action, _ in left
        ]
        work = Path(tempfile.mkdtemp(dir=self.runner.scratch))
        try:
            replies = self.fetch(left[0][0].argv[0], requests, work)
        finally:
            remove_tree(work)
        wall = time.monotonic() - started
        done: dict[str, Finished] = {}
        for (action, keyed), reply in zip(left, replies, strict=True):
            if isinstance(reply, FetchError):
                failed = _failed(action, reply, wall)
                done[action.id] = replace(failed, key=keyed.key.hash, trace=keyed.trace)
                continue
            outputs = {output.name: reply for output in action.outputs}
            self.runner.store.put(keyed.command)
            self.runner.cache.put_result(keyed.key, result_message(action, outputs, keyed))
            built = Finished(action, Outcome.BUILT, outputs, keyed.key.hash, wall / len(left))
            done[action.id] = replace(built, trace=keyed.trace)
        return done


def _failed(action: Action, error: HbError, wall: float = 0.0) -> Finished:
    return Finished(action, Outcome.FAILED, wall=wall, error=error.at(action.location, action.label))


def _meaning(error: BaseException, scratch: Path) -> HbError:
    """What an exception nobody expected is to the user: a full disk, or a defect of hb."""
    meant: HbError | None = None
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        meant = refusal(scratch.parent.parent, error)
    if isinstance(error, RecursionError):
        meant = ActionError("a tree is nested too deeply", hint="let its rule nest fewer directories")
    meant = meant or InternalError(f"{type(error).__name__}: {error}")
    meant.__cause__ = error
    return meant


def _as_twin(action: Action, done: Finished) -> Finished:
    """What an equal action's end means for this one: it did not run itself."""
    outcome = Outcome.HIT_LOCAL if done.outcome in GOOD else done.outcome
    return replace(done, action=action, outcome=outcome, wall=0.0, trace=None if outcome in GOOD else done.trace)
