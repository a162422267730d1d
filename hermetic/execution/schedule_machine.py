"""What actions may use of this machine: claims before they start, grants while they run, what was learnt after.

Guarantees: nothing said here is in a key; whatever an action was granted is back when it has ended; an action
killed for memory gets a second chance, with fewer jobs and a larger claim, and no third.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hermetic.action import Action, Inline, Mode
from hermetic.execution.outcome import Finished, Outcome
from hermetic.execution.schedule import Budget, Claim
from hermetic.execution.schedule_claims import claim_of, fewer_jobs, per_job
from hermetic.execution.schedule_grant import Grant
from hermetic.execution.schedule_ledger import Learnt, Ledger, step_and_settings
from hermetic.execution.schedule_order import step_of
from hermetic.execution.schedule_pressure import Gauge, Level, Watcher, relieve
from hermetic.proto import hb_pb2
from hermetic.sandbox.jobserver import Client, Pool
from hermetic.sandbox.jobserver_tools import Tools, settings, tools_in
from hermetic.sandbox.memory import machine_memory, stalled, tightest
from hermetic.sandbox.spec import Cancel, SandboxSpec
from hermetic.sizes import show_size
from hermetic.spans import UNHEARD, Spans

BAD = (Outcome.FAILED, Outcome.TIMEOUT, Outcome.OOM)
OVER = 1  # jobs beyond the CPUs, of all tools together that are told a number
RESERVE = (64 << 20, 2 << 30)  # bytes of memory that are kept free, at least and at most


@dataclass(frozen=True, slots=True)
class Second:
    """Another go at an action that was killed or stopped for memory. ``jobs``: at most; ``killed``: whether
    it was by the kernel, which is forgiven once."""

    claim: Claim
    jobs: int
    note: str
    killed: bool = False


class Machine:
    """``ledger``: what earlier builds learnt; ``fifos``: a folder for jobservers; ``enclosing``: cgroup
    folders whose limits hold for this process; ``cap``: bytes the user lets actions have, 0 for no such."""

    def __init__(
        self,
        budget: Budget,
        *,
        ledger: Ledger | None = None,
        fifos: Path | None = None,
        enclosing: Collection[Path] = (),
        cap: int = 0,
        spans: Spans = UNHEARD,
    ) -> None:
        self.budget, self.ledger, self.fifos, self.cap = budget, ledger, fifos, cap
        self.wake: Callable[[], None] = lambda: None
        self.pool = Pool(budget, lambda: self.wake())
        self._enclosing = list(enclosing)
        self._spans = spans
        self._running: list[Grant] = []  # oldest first
        self._clients: dict[int, Client] = {}
        self._count = itertools.count()
        self._lock = threading.Lock()
        self._level = Level.FINE
        self._available = 0
        self._watcher: Watcher | None = None
        if budget.memory < UNLIMITED:
            self._watcher = Watcher(Gauge(reserve(budget.memory)), self._look, self._relieve)

    # --- before ---------------------------------------------------------------------------------

    def seconds(self, names: Collection[str]) -> Mapping[str, float]:
        """Action → seconds its step took; those that never ran are absent."""
        if self.ledger is None:
            return {}
        known = self.ledger.load({step_of(name) for name in names})
        return {name: known[step] for name in names if (step := step_of(name)) in known}

    def claim(self, action: Action) -> Claim:
        return claim_of(action, self._learnt(action))

    def holds(self, running: int) -> bool:
        """Whether nothing more may start for now. Something always runs."""
        return running > 0 and self._level > Level.FINE

    def reclaim(self, cpus: int, memory: int) -> bool:
        """Have tokens that jobserver clients do not use back; those in use as soon as they come back."""
        if self.pool.reclaim(cpus, memory):
            return True
        self.pool.owed = cpus, memory
        return False

    # --- while it runs --------------------------------------------------------------------------

    def start(self, action: Action, claim: Claim, cancel: Cancel, most: int = 0) -> Grant:
        """``most``: jobs it may run; 0 for what the machine has."""
        grant = Grant(cancel, claim, jobs=claim.cpus, name=action.id, since=time.monotonic())
        if action.mode is not Mode.COMMAND:
            return grant
        grant.prepare = lambda spec: self._prepare(grant, action, spec, most or self.budget.cpus)
        with self._lock:
            self._running.append(grant)
            if self._watcher is not None:
                self._watcher.busy(True)
        return grant

    def end(self, grant: Grant) -> None:
        with self._lock:
            if grant not in self._running:
                return
            self._running.remove(grant)
            if self._watcher is not None:
                self._watcher.busy(bool(self._running))
            if not self._running:
                self._ease(Level.FINE)
            client = self._clients.pop(id(grant), None)
        if client is not None:
            self.pool.leave(client)
        if grant.extra:
            self.budget.give(grant.extra, 0)

    def memory(self) -> dict[str, tuple[str, int]]:
        """Action → what it does and how many bytes it has, of commands that run."""
        with self._lock:
            return self._now()

    def _now(self) -> dict[str, tuple[str, int]]:
        return {
            one.name: (one.phases[-1][0], one.group.now if one.group is not None else 0)
            for one in self._running
            if one.phases
        }

    def _prepare(self, grant: Grant, action: Action, spec: SandboxSpec, most: int) -> SandboxSpec:
        """Tell a command how many jobs it may run, in words its tools understand."""
        tools = tools_in(spec.roots, dict(spec.env).get("PATH", "")).meant_by(_texts(action, spec))
        learnt = self._learnt(action)
        each = per_job(action, learnt, tools.languages)
        limit = self.budget.memory if self.budget.memory < UNLIMITED else 0
        room = most if not (each and limit) else min(most, 1 + max(limit - grant.claim.memory, 0) // each)
        spec = replace(spec, memory=limit)
        if tools.style and self.fifos is not None:
            client = self.pool.join(self.fifos / f"jobs-{next(self._count)}", each if limit else 0, room - 1)
            with self._lock:
                self._clients[id(grant)] = client
            grant.jobs = room
            descriptors = client.descriptors() if tools.style == "fds" else None
            speed = settings(tools, room, descriptors)
            return replace(spec, speed=speed, jobserver=client.path, fds=descriptors or ())
        return replace(spec, speed=settings(tools, self._number(grant, room, _kept_busy(tools, learnt)), None))

    def _number(self, grant: Grant, room: int, busy: int) -> int:
        """Jobs for a tool that is told once: what is free now, and what of ``OVER`` nobody has; other CPUs may
        become free while it runs, and it will not learn of them."""
        with self._lock:
            share = max(min(self.budget.free[0] + grant.claim.cpus, room), 1)
            extra = max(min(share, busy) - grant.claim.cpus, 0)
            taken = extra if extra and self.budget.take(extra, 0) else 0
            over = max(min(OVER - sum(one.over for one in self._running), min(busy, room) - share), 0)
            grant.extra, grant.over, grant.jobs = taken, over, share + over
        return grant.jobs

    # --- after ----------------------------------------------------------------------------------

    def learn(self, done: Finished) -> None:
        """Of what ran here, and of what a remote cache says that it took elsewhere."""
        usage = done.usage or (hb_pb2.Usage(wall=done.wall) if done.outcome is Outcome.BUILT else None)
        if self.ledger is None or usage is None:
            return
        step = step_and_settings(done.action)
        if done.outcome is Outcome.HIT_REMOTE and self.ledger.find(step) is not None:
            return
        self.ledger.learn(step, usage, good=done.outcome not in BAD)

    def again(self, done: Finished, grant: Grant, before: Second | None = None) -> Second | None:
        """Whether an action that ended so should get another go. ``before``: the go it just had, if it was
        not the first. What was stopped for others always gets one: it will be alone, and never stopped again."""
        killed = done.outcome is Outcome.OOM
        if grant.cancel.is_set() or not (grant.squeezed or killed):
            return None
        if not grant.squeezed and before is not None and before.killed:
            return None
        peak = done.usage.peak if done.usage is not None else 0
        jobs = fewer_jobs(grant.jobs, peak, self.budget.memory)
        alone = grant.squeezed or grant.jobs <= 1  # with no job less to run, the neighbours have to go
        claim = replace(grant.claim, memory=2 * max(grant.claim.memory, peak), exclusive=alone)
        if grant.squeezed:
            how = "was stopped as the machine's memory ran out; it will run alone"
        else:
            how = f"was killed for want of memory; tried again with {jobs}"
        note = f"{done.action.label} {done.action.mnemonic} had {show_size(peak)} with {_jobs(grant.jobs)} and {how}"
        return Second(claim, jobs, note, killed or (before is not None and before.killed))

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self.pool.close()
        if self.ledger is not None:
            self.ledger.close()

    # --- memory ---------------------------------------------------------------------------------

    def _learnt(self, action: Action) -> Learnt | None:
        return self.ledger.find(step_and_settings(action)) if self.ledger is not None else None

    def _look(self) -> tuple[int, float]:
        rooms = [machine_memory().available]
        if (tight := tightest(self._enclosing)) is not None:
            rooms.append(tight.available)
        if self.cap:
            rooms.append(max(self.cap - sum(size for _, size in self.memory().values()), 0))
        self._available = min(rooms)
        return self._available, stalled()

    def _relieve(self, level: Level) -> None:
        with self._lock:
            relieve(level, self._running)
            self._ease(level)
            sizes = {name: size for name, (_, size) in self._now().items()}
        self._spans.count("memory", {"actions": sum(sizes.values()), "available": self._available})
        self._spans.count("CPUs", {"job tokens": self.pool.lent, "load": os.getloadavg()[0]})

    def _ease(self, level: Level) -> None:
        before, self._level = self._level, level
        self.pool.withdrawn = level >= Level.WITHDRAW
        if before > Level.FINE >= level:
            self.wake()


UNLIMITED = 1 << 60  # bytes of a budget that nobody watches


def capacity(enclosing: Collection[Path], cap: int) -> int:
    """Bytes that actions may claim together: what the user says, else what is free but for a reserve."""
    if cap:
        return cap
    machine = machine_memory()
    rooms = [machine.available] if machine.total else []
    if (tight := tightest(list(enclosing))) is not None:
        rooms.append(tight.available)
    return max(min(rooms) - reserve(min(rooms)), RESERVE[0]) if rooms else UNLIMITED


def reserve(memory: int) -> int:
    return max(min(memory // 16, RESERVE[1]), RESERVE[0])


def _texts(action: Action, spec: SandboxSpec) -> list[str]:
    """What a command says: its words, its environment, and the scripts that its rule wrote."""
    scripts = [one.ref.text for one in action.inputs if isinstance(one.ref, Inline)]
    return [*spec.argv, *scripts, *(value for _, value in spec.env)]


def _kept_busy(tools: Tools, learnt: Learnt | None) -> int:
    """CPUs that tools which are told a number should keep busy."""
    if learnt is not None and learnt.wall > 0:
        return math.ceil(learnt.parallel)
    if tools.ninja:
        return 1 << 16  # whatever it is told
    return 2 if tools.languages else 1


def _jobs(count: int) -> str:
    return f"{count} jobs" if count != 1 else "1 job"
