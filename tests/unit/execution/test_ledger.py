"""What is learnt of earlier runs: what raises it, what lowers it, and that it never fails a build."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.action import Action, Mode
from hermetic.errors import Location
from hermetic.execution.schedule import Claim
from hermetic.execution.schedule_claims import FIRST, MIB, PER_JOB, claim_of, fewer_jobs, per_job
from hermetic.execution.schedule_ledger import Learnt, Ledger, step_and_settings
from hermetic.proto import hb_pb2

STEP = ("//:a#Make", "arch=amd64")
usages = st.builds(
    hb_pb2.Usage,
    peak=st.integers(1, 1 << 40),
    cpu=st.floats(0, 1000),
    wall=st.floats(0.001, 1000),
    jobs=st.integers(1, 64),
)


def action(**more: object) -> Action:
    fields = {"label": "//:a", "mnemonic": "Make", "location": Location("BUILD.py", 1), "mode": Mode.COMMAND}
    return Action(**{"id": "//:a#Make-0123456789abcdef", **fields, "argv": ("make",), "outputs": (), **more})  # type: ignore[arg-type]


@given(st.lists(st.tuples(usages, st.booleans()), max_size=8))
def test_a_bad_end_never_lowers_anything_and_a_good_one_only_slowly(runs: list[tuple[hb_pb2.Usage, bool]]) -> None:
    learnt = Learnt()
    for usage, good in runs:
        after = learnt.after(usage, good)
        assert after.peak >= min(usage.peak, learnt.peak or usage.peak)
        assert after.peak >= usage.peak or after.peak >= learnt.peak * 0.75 - 1
        if not good:
            assert after.peak >= learnt.peak and after.wall >= learnt.wall and after.cpu >= learnt.cpu
        learnt = after


def test_it_survives_a_new_process_and_an_edit(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "usage.db")
    first.learn(STEP, hb_pb2.Usage(peak=100, cpu=4, wall=2, jobs=2), good=True)
    first.close()
    second = Ledger(tmp_path / "usage.db")
    assert second.find(STEP) is None  # not asked for yet
    assert second.load(["//:a#Make", "//:b#Make"]) == {"//:a#Make": 2.0}
    learnt = second.find(STEP)
    assert learnt == Learnt(100, 4.0, 2.0, 2) and learnt.parallel == 2.0
    edited = action(id="//:a#Make-fedcba9876543210", settings=(("arch", "amd64"),))
    assert step_and_settings(edited) == STEP
    second.close()


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
def test_a_damaged_ledger_is_none(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "usage.db"
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage)
    ledger = Ledger(path)
    ledger.learn(STEP, hb_pb2.Usage(peak=1, wall=1), good=False)
    assert ledger.find(STEP) == Learnt(1, 0.0, 1.0, 1)
    ledger.close()


def test_claims_are_declared_until_they_are_learnt() -> None:
    assert claim_of(action(), None) == Claim(1, FIRST, False)
    said = action(resources=(("cpu", "3"), ("exclusive", "1"), ("memory", str(9 * MIB))))
    assert claim_of(said, None) == Claim(3, 9 * MIB, True)
    assert claim_of(said, Learnt(peak=100 * MIB)).memory > 100 * MIB
    assert claim_of(action(mode=Mode.INTERNAL), None) == Claim()


def test_a_job_takes_what_is_declared_learnt_or_usual_for_its_language() -> None:
    assert per_job(action(), None, frozenset({"c", "c++", "cuda"})) == PER_JOB["cuda"]
    assert per_job(action(), None, frozenset()) == 0
    assert per_job(action(resources=(("jobs_memory", "77"),)), None, frozenset({"c"})) == 77
    assert per_job(action(), Learnt(peak=100, jobs=8), frozenset({"c"})) == 0  # the claim holds all of them


@given(st.integers(1, 64), st.integers(1, 1 << 40), st.integers(0, 1 << 40))
def test_the_second_try_has_fewer_jobs(jobs: int, peak: int, limit: int) -> None:
    assert 1 <= fewer_jobs(jobs, peak, limit) <= max(jobs - 1, 1)
