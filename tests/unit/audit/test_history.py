"""The history's promises: nothing torn is believed, old builds go, equal states are kept once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.execution import history as module
from hermetic.execution.history import ANY, DamagedRecord, Head, History, durations, step_hash
from hermetic.execution.records import Event, Record, Shown, State, Step, Trace


def record(tag: str = "a", count: int = 3) -> Record:
    steps = tuple(Step(f"//p:t{n}", "Run", "arch=amd64", f"{tag}{n}" * 8, [n - 1] if n else []) for n in range(count))
    targets = (Shown("//p:all", "", "tree", [count - 1]),)
    traces = {steps[0].key: Trace("c/1", "", [["command", "x", ""], ["input a at /a", "d/1", "file a"]])}
    events = (Event(0, "built", 1.5, "o/1", "e/1", ""), Event(1, "failed", 0.5, "", "", "no\ud800 luck"))
    return Record(State(steps, targets, {"BUILD.py": "ab"}), events, traces)


def head(number: int, workspace: str = "/ws", **more: object) -> Head:
    return Head(f"build-{number}", float(number), workspace, ("build", "//…"), 1.0, {"built": 1, "failed": 1}, **more)  # type: ignore[arg-type]


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    kept = History(tmp_path).add(head(1), record())
    fresh = History(tmp_path)
    assert fresh.heads() == [kept]
    assert fresh.state(kept) == record().state
    assert tuple(fresh.events(kept)) == record().events
    assert {key: Trace.decode(text) for key, text in fresh.traces(kept).items()} == record().traces


def test_heads_are_in_the_order_of_time_and_of_one_workspace(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number, workspace in ((3, "/a"), (1, "/a"), (2, "/b")):
        history.add(head(number, workspace), record())
    assert [one.id for one in history.heads()] == ["build-1", "build-2", "build-3"]
    assert [one.id for one in history.heads("/a")] == ["build-1", "build-3"]


def test_equal_states_are_kept_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    first = history.add(head(1), record())
    second = history.add(head(2), record())
    third = history.add_unchanged(head(3), first.state)
    assert first.state == second.state == third.state
    assert len(list((tmp_path / "states").iterdir())) == 1
    assert history.state(third) == record().state
    assert not history.events(third)


def test_a_state_knows_its_steps_without_being_unpacked(tmp_path: Path) -> None:
    history = History(tmp_path)
    kept = history.add(head(1), record(count=200))
    known = step_hash("//p:t7", "Run", "arch=amd64")
    assert history.knows(kept, [known])
    assert history.knows(kept, [step_hash("//p:t7", "Run", ANY)])
    assert not history.knows(kept, [step_hash("//p:t7", "Run", "arch=arm64")])
    assert not history.knows(kept, list(range(5000)))
    assert history.knows(kept, [*range(5000), known])


@pytest.mark.parametrize("victim", ["build", "state"])
def test_damage_counts_as_absence(tmp_path: Path, victim: str) -> None:
    kept = History(tmp_path).add(head(1), record(count=40))
    path = tmp_path / "build-1.build" if victim == "build" else tmp_path / "states" / kept.state
    whole = path.read_bytes()
    body = whole.index(b"\n") + 1
    for data in (
        whole[:-1],
        whole[: body + 5],
        whole[:body],
        whole[:-3] + b"\0\0\0",
        b"\0" * len(whole),
        b"",
        b"{}\n",
        whole + b"x",
    ):
        path.write_bytes(data)
        history = History(tmp_path)
        if victim == "build" and data[:body] != whole[:body]:
            assert history.heads() == []
        with pytest.raises(DamagedRecord):
            history.events(kept) if victim == "build" else history.state(kept)
    path.unlink()
    with pytest.raises(DamagedRecord):
        History(tmp_path).events(kept) if victim == "build" else History(tmp_path).state(kept)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_flipped_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flip")
    kept = History(folder).add(head(1), record())
    path = folder / "build-1.build"
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(whole.index(b"\n") + 1, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(whole))
    with pytest.raises(DamagedRecord):
        History(folder).traces(kept)


def test_a_damaged_state_is_written_again(tmp_path: Path) -> None:
    kept = History(tmp_path).add(head(1), record())
    (tmp_path / "states" / kept.state).write_bytes(b"torn")
    History(tmp_path).add(head(2), record())
    assert History(tmp_path).state(kept) == record().state


def test_another_format_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORMAT", 99)
    kept = History(tmp_path).add(head(1), record())
    monkeypatch.undo()
    history = History(tmp_path)
    assert history.heads() == []
    with pytest.raises(DamagedRecord):
        history.state(kept)
    history.add(head(2), record("b"))
    assert (tmp_path / "build-1.build").exists()


def test_old_builds_and_their_states_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP", 5)
    monkeypatch.setattr(module, "SLACK", 2)
    monkeypatch.setattr(module, "YOUNG", -1.0)
    history = History(tmp_path)
    (tmp_path / ".new-abc").write_bytes(b"torn")
    for number in range(12):
        history.add(head(number), record(f"{number:02}"))
    left = history.heads()
    assert 5 <= len(left) <= 7
    assert [one.id for one in left] == [f"build-{n}" for n in range(12 - len(left), 12)]
    assert all(history.state(one) for one in left)
    assert len(list((tmp_path / "states").iterdir())) <= 7
    assert not (tmp_path / ".new-abc").exists()


def test_a_state_that_may_be_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP", 1)
    monkeypatch.setattr(module, "SLACK", 0)
    history = History(tmp_path)
    young = history.add(head(1), record("a")).state
    for number in range(2, 5):
        history.add(head(number), record("b"))
    assert (tmp_path / "states" / young).exists()
    os.utime(tmp_path / "states" / young, (1, 1))
    history.add(head(9), record("b"))
    assert not (tmp_path / "states" / young).exists()


def test_sweeps_are_remembered_the_last_hundred(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.sweeps() == []
    for number in range(module.SWEEPS + 5):
        history.note_sweep(float(number), f"--max-size {number}G")
    assert len(history.sweeps()) == module.SWEEPS
    assert history.sweeps()[-1] == (module.SWEEPS + 4.0, f"--max-size {module.SWEEPS + 4}G")
    (tmp_path / "sweeps").write_text("torn\n")
    assert history.sweeps() == []


def test_the_newest_success_says_how_long_a_step_takes(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.add(head(1, "/other"), Record(record().state, (Event(0, "built", 9.0, "", "", ""),)))
    history.add(
        head(2), Record(record().state, (Event(0, "built", 2.0, "", "", ""), Event(1, "built", 7.0, "", "", "")))
    )
    history.add(
        head(3), Record(record().state, (Event(0, "built", 3.0, "", "", ""), Event(1, "failed", 0.1, "", "", "")))
    )
    names = [("//p:t0", "Run", "arch=amd64"), ("//p:t1", "Run", "arch=amd64"), ("//p:x", "Run", "")]
    assert durations(history, "/ws", names) == {names[0]: 3.0, names[1]: 7.0}


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests_history import head, record
from hermetic.execution.history import History
history = History(Path(sys.argv[1]))
for number in range(int(sys.argv[3]), 100000):
    history.add(head(number), record(str(number), 300))
    print(number, flush=True)
"""


@pytest.mark.slow
def test_killed_writers_leave_only_whole_records(tmp_path: Path) -> None:
    (tmp_path / "tests_history.py").write_text(Path(__file__).read_text())
    (tmp_path / "writer.py").write_text(WRITER)
    folder = tmp_path / "builds"
    root = str(Path(__file__).parents[3])
    for attempt in range(10):
        child = subprocess.Popen(
            [sys.executable, str(tmp_path / "writer.py"), str(folder), str(tmp_path), str(attempt * 1000)],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.random() / 20)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    history = History(folder)
    heads = history.heads()
    assert len(heads) >= 10
    for one in heads:
        assert history.state(one).steps
        assert len(history.events(one)) == 2
