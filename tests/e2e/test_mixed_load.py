"""One pool of jobs for real tools that know nothing of each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from mixed_load import MixedLoad, Runnable, missing

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


def test_two_makes_a_ninja_and_a_cargo_never_run_more_than_the_machine_has(tmp_path: Path) -> None:
    """Tools are runnable themselves for a moment, when they start a job or reap one: two more than CPUs, and
    hardly ever three, when such moments meet. Without hb it is so most of the time."""
    if lacks := missing():
        pytest.skip(f"no {lacks}")
    load = MixedLoad(tmp_path, 6)
    try:
        if load.groups.memory is None:
            pytest.skip("no control group to count in")
        runnable = Runnable(load.groups)
        load.with_hb(runnable)
        assert len(runnable.counts) > 20
        assert max(runnable.counts) >= min(load.cpus, 2), "they ran one after the other"
        assert beyond(runnable, load.cpus + 2) <= 0.02, runnable.worst
        without = Runnable(load.groups)
        with without.watched():
            load.with_fixed(load.cpus)
        assert beyond(without, load.cpus + 2) > 0.2, "it would not show if they did not share"
    finally:
        load.close()


def beyond(runnable: Runnable, most: int) -> float:
    """Share of the time."""
    return sum(count > most for count in runnable.counts) / len(runnable.counts)
