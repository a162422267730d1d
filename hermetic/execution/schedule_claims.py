"""How much an action claims: what its rule declares, until a run has shown what it takes.

Guarantees: what was learnt replaces what was declared, with a margin; a claim that was doubled after a
kill stays doubled in that build.
"""

from __future__ import annotations

import math

from hermetic.action import Action, Mode
from hermetic.execution.schedule import Claim
from hermetic.execution.schedule_ledger import Learnt

MARGIN = 1.25  # peaks are seen five times a second, and inputs grow
MIB = 1 << 20
FIRST = 256 * MIB  # of a command that never ran
SLACK = 32 * MIB  # a small peak says little
# Bytes for each job of a tool whose steps were never measured, heaviest first.
PER_JOB = {"cuda": 4096 * MIB, "rust": 1536 * MIB, "c++": 1229 * MIB, "c": 410 * MIB}


def claim_of(action: Action, learnt: Learnt | None) -> Claim:
    if action.mode is not Mode.COMMAND:
        return Claim()
    cpus, exclusive = max(declared(action, "cpu"), 1), bool(declared(action, "exclusive"))
    if learnt is not None and learnt.peak:
        return Claim(cpus, round(learnt.peak * MARGIN) + SLACK, exclusive)
    return Claim(cpus, declared(action, "memory") or FIRST, exclusive)


def declared(action: Action, name: str) -> int:
    """A number of what the target says of its commands; 0 when it does not."""
    return next((int(value) for key, value in action.resources if key == name and value.isdecimal()), 0)


def per_job(action: Action, learnt: Learnt | None, languages: frozenset[str]) -> int:
    """Bytes that one more job takes beyond the claim; none when the claim was learnt with that many."""
    if said := declared(action, "jobs_memory"):
        return said
    if learnt is not None and learnt.peak:
        return 0 if learnt.jobs > 1 else round(learnt.peak * MARGIN)
    return next((size for name, size in PER_JOB.items() if name in languages), 0)


def fewer_jobs(jobs: int, peak: int, limit: int) -> int:
    """How many jobs of that size should have fitted; fewer than before in any case."""
    each = max(peak, 1) / max(jobs, 1)
    return max(1, min(jobs - 1, math.floor(limit / (each * MARGIN)), jobs // 2 + 1 if jobs > 2 else 1))
