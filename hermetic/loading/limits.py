"""Limits of the process that runs BUILD code: memory, CPU time, file sizes. Set once, never raised."""

from __future__ import annotations

import resource


def confine(memory: int, cpu_seconds: int) -> None:
    """``memory``: bytes of address space; ``cpu_seconds``: after which the kernel ends the process."""
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 64 << 20),
    ):
        _, hard = resource.getrlimit(what)
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (value, value))
