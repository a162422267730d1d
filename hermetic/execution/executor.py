"""The executor: walks the action graph, asks the cache, runs what is left.

Guarantees: an action starts when everything it depends on has a result; equal keys run once; a failure
stops what depends on it and, unless told to keep going, everything not yet started; a result whose
blobs are gone is made again inside the same build. Only the loop below changes shared state; workers
get values and return values.

An action goes through two lines: first its key is made and its result looked for, as many at once as
that takes; what must run waits in the schedule until the machine has room for it.
"""

from __future__ import annotations

import errno
import heapq
import queue
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from hermetic.action import Action, ActionGraph, Mode
from hermetic.digest import Digest
from hermetic.errors import ActionError, HbError, InternalError
from hermetic.execution.ahead import Ahead
from hermetic.execution.fetching import BATCH, Fetch, Fetching, failed
from hermetic.execution.interrupt import impatient
from hermetic.execution.keys import Keyed
from hermetic.execution.lookup import Lookup
from hermetic.execution.lost import whole
from hermetic.execution.outcome import GOOD, BuildResult, Finished, Foresight, Outcome, Reporter
from hermetic.execution.planned import planned
from hermetic.execution.rewind import rewound
from hermetic.execution.runner import Runner
from hermetic.execution.schedule import Budget, Claim, Schedule, Task
from hermetic.execution.schedule_flight import Flights
from hermetic.execution.schedule_grant import spent
from hermetic.execution.schedule_machine import UNLIMITED, Machine, Second
from hermetic.execution.state import Again, Done, Earlier, Event, Missed, Phase, State
from hermetic.store.disk import refusal
from hermetic.store.operation import Resolved
from hermetic.store.protocols import MissingBlob

FLIGHTS = "running"  # in the store: the file of locks
AHEAD = 256  # actions that wait in the schedule before lookups pause: each holds its drafts in memory


@dataclass(frozen=True)
class Options:
    """``lookers``: actions beyond ``jobs`` that may be looked for in a remote cache at the same time."""

    jobs: int
    keep_going: bool = False
    dry_run: bool = False
    lookers: int = 0


class Executor:
    def __init__(
        self,
        graph: ActionGraph,
        runner: Runner,
        fetch: Fetch,
        reporter: Reporter,
        options: Options,
        earlier: Earlier | None = None,
        machine: Machine | None = None,
    ) -> None:
        """``earlier``: what an earlier build of a larger graph knows. ``machine``: what actions may use;
        one CPU for each job, and no memory to speak of, when nothing is said."""
        self.graph = graph
        self.runner = runner
        self.reporter = reporter
        self.options = options
        self.earlier = earlier or Earlier()
        self.machine = machine or Machine(Budget(options.jobs, UNLIMITED))
        self.machine.wake = lambda: self._events.put((Phase.WOKEN, ()))
        self._flights: Flights | None = None
        self.schedule = Schedule(self.machine.budget, options.jobs)
        self._lookup = Lookup(runner, options.dry_run)
        self._width = options.jobs + options.lookers
        self._ahead = Ahead(runner.vault, graph.actions, reporter.note)
        self._fetching = Fetching(self._lookup, fetch, reporter, self._width, self._ahead.runs)
        self._events: queue.Queue[Event] = queue.Queue()

    def run(self, build_id: str, again: Iterable[str] = ()) -> BuildResult:
        """Build every output of the requested targets. ``again``: actions whose stored results are
        known to be incomplete."""
        started = time.monotonic()
        state = planned(self.graph, self.earlier, self.machine.seconds)
        for action_id in sorted(name for name, needs in state.waiting.items() if not needs):
            self._enqueue(state, action_id)
        state.again.update(again)
        self._ahead.users = state.users
        self.reporter.foreseen(Foresight(state.seconds, state.rest, self.options.jobs, self.machine.memory))
        self.reporter.planned(len(state.waiting))
        interrupted = False
        flights = self._flights = Flights(self.runner.derived.parent / FLIGHTS)
        sizes = {"look": self._width, "run": self.options.jobs, "fetch": 1}
        pools = [ThreadPoolExecutor(size, name) for name, size in sizes.items()]
        try:
            self._loop(state, *pools)
        except KeyboardInterrupt:
            interrupted = True
            self.runner.cancel.set()  # type: ignore[attr-defined]
            self.reporter.note("interrupted: ending what runs; once more ends hb at once")
            with impatient():
                for pool in pools:
                    pool.shutdown(wait=True, cancel_futures=True)
        finally:
            for pool in pools:
                pool.shutdown(wait=True)
            flights.close()
        self._skip_the_rest(state)
        unchanged = self.earlier.unchanged + len(state.passed)
        return BuildResult(build_id, state.finished, time.monotonic() - started, interrupted, unchanged)

    def fetch_now(self, actions: list[Action]) -> list[Finished]:
        return self._fetching.now(actions)

    def _enqueue(self, state: State, action_id: str) -> None:
        known = action_id in self.earlier.results and action_id not in state.again
        if known and state.moved.isdisjoint(self.earlier.needs[action_id]):
            state.same.append(action_id)
            return
        if self.graph.actions[action_id].mode is Mode.FETCH:
            state.fetches.append(action_id)
        else:
            heapq.heappush(state.ready, (-state.rest[action_id], action_id))

    # --- the loop ---------------------------------------------------------------------------------

    def _loop(
        self, state: State, lookers: ThreadPoolExecutor, workers: ThreadPoolExecutor, fetchers: ThreadPoolExecutor
    ) -> None:
        while True:
            while state.same:
                self._pass(state, state.same.pop())
            if not state.stopping:
                self._look(state, lookers)
                self._start(state, workers)
                self._fetch(state, fetchers)
            if not (state.looking or self.schedule.running or state.fetching or state.elsewhere):
                return
            if state.stopping and not (state.looking or self.schedule.running or state.fetching):
                return
            phase, ended = self._events.get()
            for done in ended:
                self._settle(state, phase, done)

    def _look(self, state: State, lookers: ThreadPoolExecutor) -> None:
        while state.ready and state.looking < self._width and len(self.schedule) < AHEAD:
            action = self.graph.actions[heapq.heappop(state.ready)[1]]
            state.looking += 1
            again = action.id in state.again
            lookers.submit(self._guarded, Phase.LOOKED, [action], self._looked, action, state.made, again)

    def _start(self, state: State, workers: ThreadPoolExecutor) -> None:
        while not self.machine.holds(self.schedule.running):
            task = self.schedule.next(time.monotonic())
            if task is not None:
                action, keyed = self.graph.actions[task.name], state.keyed[task.name]
                second, again = state.second.get(task.name), task.name in state.again
                work = (self._ran, action, keyed, task.claim, second, again)
                workers.submit(self._guarded, Phase.RAN, [action], *work)
            elif not (self.schedule.owed[0] and self.machine.reclaim(*self.schedule.owed)):
                return

    def _fetch(self, state: State, fetchers: ThreadPoolExecutor) -> None:
        if state.fetches and not state.fetching:
            first = self.graph.actions[state.fetches[0]]
            batch = [one for one in state.fetches if self.graph.actions[one].argv[0] == first.argv[0]][:BATCH]
            state.fetches = [one for one in state.fetches if one not in set(batch)]
            actions = [self.graph.actions[one] for one in batch]
            state.fetching = True
            fetchers.submit(self._guarded, Phase.FETCHED, actions, self.fetch_now, actions)

    def _guarded(
        self,
        phase: Phase,
        actions: list[Action],
        work: Callable[..., Sequence[Done]],
        *arguments: object,
    ) -> None:
        """Whatever happens in a worker becomes an event."""
        done: Sequence[Done]
        try:
            done = work(*arguments)
        except HbError as error:
            done = [failed(action, error) for action in actions]
        except BaseException as error:
            done = [failed(action, _meaning(error, self.runner.scratch)) for action in actions]
        self._events.put((phase, done))

    def _settle(self, state: State, phase: Phase, done: Done) -> None:
        twins: list[Action] = []
        if phase is Phase.LOOKED:
            state.looking -= 1
        elif phase is Phase.FETCHED:
            state.fetching = False
        if isinstance(done, Missed):
            self._ahead.runs(done.action.id)
            self._queue(state, done.action, done.keyed)
            return
        if isinstance(done, Again):
            self._requeue(state, phase, done)
            return
        if phase is Phase.RAN:
            twins = self._end(state, done)
        self._finish(state, done)
        for twin in twins:
            if isinstance(done.error, MissingBlob):
                self._enqueue(state, twin.id)
            else:
                self._finish(state, _as_twin(twin, done))

    def _queue(self, state: State, action: Action, keyed: Keyed) -> None:
        """An action that must run, unless an equal one does."""
        if action.id not in state.again:
            if keyed.key in state.ran:
                self._finish(state, _as_twin(action, state.ran[keyed.key]))
                return
            if keyed.key in state.leaders:
                state.twins.setdefault(keyed.key, []).append(action)
                return
        state.leaders.setdefault(keyed.key, action.id)
        state.keyed[action.id] = keyed
        self._line_up(state, action)

    def _line_up(self, state: State, action: Action) -> None:
        second = state.second.get(action.id)
        claim = second.claim if second is not None else self.machine.claim(action)
        self.schedule.add(Task(action.id, claim, state.rest[action.id], state.seconds[action.id]))

    def _requeue(self, state: State, phase: Phase, done: Again) -> None:
        name = done.action.id
        if phase is Phase.RAN:
            self.schedule.end(name)
        if done.elsewhere:
            assert self._flights is not None
            if not state.elsewhere:
                self.reporter.note(f"waiting for another hb, which runs {done.action.label} {done.action.mnemonic}")
            state.elsewhere.add(name)
            free = (Phase.RELEASED, (replace(done, elsewhere=False),))
            self._flights.wait(name, done.keyed.key, lambda: self._events.put(free))
            return
        if done.second is not None:
            self.reporter.note(done.second.note)
            state.second[name] = done.second
        state.elsewhere.discard(name)
        self._line_up(state, done.action)

    def _end(self, state: State, done: Finished) -> list[Action]:
        """An action has run. Returns the equal ones that waited for it."""
        self.schedule.end(done.action.id)
        key = state.keyed.pop(done.action.id).key
        if done.outcome in GOOD:
            state.ran[key] = done
        if state.leaders.get(key) != done.action.id:
            return []
        del state.leaders[key]
        return state.twins.pop(key, [])

    def _finish(self, state: State, done: Finished) -> None:
        action_id = done.action.id
        if done.outcome is Outcome.HIT_REMOTE:
            self.machine.learn(done)
        if isinstance(done.error, MissingBlob):
            ready = rewound(state, done.action, self.graph, self.earlier, lambda one: whole(one, self.runner.store))
            for name in ready or ():
                self._enqueue(state, name)
            if ready is not None:
                return
        if done.outcome is Outcome.BUILT and (action_id in state.again or self._forgotten(done)):
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

    def _forgotten(self, done: Finished) -> bool:
        """Whether the result was known once, and removed to make room."""
        return bool(done.key) and self.runner.cache.was_evicted(Digest(done.key, 0))

    def _pass(self, state: State, action_id: str) -> None:
        """Nothing the action sees has changed since the earlier build, so its result is what it was."""
        state.passed.add(action_id)
        self._hand_on(state, action_id, self.earlier.results[action_id])

    def _hand_on(self, state: State, action_id: str, outputs: Mapping[str, Resolved]) -> None:
        for name, resolved in outputs.items():
            state.made[action_id, name] = resolved
        for user in state.users.get(action_id, ()):
            if action_id in state.waiting[user] and user not in state.finished:
                state.waiting[user].discard(action_id)
                if not state.waiting[user]:
                    self._enqueue(state, user)

    def _cascade(self, state: State, action_id: str) -> None:
        """Everything that depends on a failed action is skipped."""
        pending = list(state.users.get(action_id, ()))
        while pending:
            user = pending.pop()
            if user not in state.finished:
                state.finished[user] = Finished(self.graph.actions[user], Outcome.SKIPPED)
                pending += state.users.get(user, ())

    def _skip_the_rest(self, state: State) -> None:
        for action_id in state.waiting:
            if action_id not in state.finished and action_id not in state.passed:
                state.finished[action_id] = Finished(self.graph.actions[action_id], Outcome.SKIPPED)

    # --- workers ----------------------------------------------------------------------------------

    def _looked(
        self, action: Action, made: Mapping[tuple[str, str], Resolved], again: bool
    ) -> Sequence[Finished | Missed]:
        with self.runner.spans.span("look", label=action.label, mnemonic=action.mnemonic) as span:
            keyed = self._lookup.key(action, made)
            hit = None if again else self._lookup.find(action, keyed)
            span.say(key=keyed.key.hash, outcome=hit.outcome.value if hit else "miss")
        if hit is not None:
            return [hit]
        if self.options.dry_run:
            self.runner.store.put(keyed.command)  # the plan says what in it differs
            return [Finished(action, Outcome.SKIPPED, key=keyed.key.hash, trace=keyed.trace)]
        self.runner.vault.check(action.secrets)  # before it waits for its turn
        return [Missed(action, keyed)]

    def _ran(
        self, action: Action, keyed: Keyed, claim: Claim, second: Second | None, again: bool
    ) -> Sequence[Finished | Again]:
        assert self._flights is not None
        if not self._flights.take(keyed.key):
            return [Again(action, keyed, elsewhere=True)]
        try:
            hit = None if again else self._lookup.here(action, keyed)  # another hb may just have run it
            return [hit] if hit is not None else [self._granted(action, keyed, claim, second)]
        finally:
            self._flights.give(keyed.key)

    def _granted(self, action: Action, keyed: Keyed, claim: Claim, second: Second | None) -> Finished | Again:
        self.reporter.started(action)
        named = {"action": action.id, "label": action.label, "mnemonic": action.mnemonic, "key": keyed.key.hash}
        with self.runner.spans.span("action", **named) as span:
            grant = self.machine.start(action, claim, self.runner.cancel, second.jobs if second else 0)
            try:
                done = replace(self.runner.run(action, keyed, grant), trace=keyed.trace)
                span.say(outcome=done.outcome.value, **spent(done.usage))
            finally:
                span.say(cpus=grant.claim.cpus, jobs=grant.jobs)
                self.machine.end(grant)
                grant.told(self.runner.spans)
        self.machine.learn(done)
        more = self.machine.again(done, grant, second)
        return done if more is None else Again(action, keyed, more)


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
