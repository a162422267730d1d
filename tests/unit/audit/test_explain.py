"""Rare causes and rare shapes, from records made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hermetic.audit.explain import Cause, Earlier, Explainer
from hermetic.audit.pairing import View, pair
from hermetic.audit.past import Past
from hermetic.audit.text import SHOWN, json_of, lines_of
from hermetic.audit.why import why
from hermetic.audit.words import printable
from hermetic.execution.history import Head, History
from hermetic.execution.records import Event, Record, Shown, State, Step, Trace
from hermetic.store.memory import MemoryStore


def step(label: str, key: str, *needs: int, mnemonic: str = "Run", settings: str = "") -> Step:
    return Step(label, mnemonic, settings, key, list(needs))


def trace(*rows: Sequence[str], subject: str = "") -> Trace:
    return Trace("c/1", subject, [[*row, ""][:3] for row in rows])


def explain(
    old: Sequence[Step],
    new: Sequence[Step],
    traces: dict[str, Trace],
    files: tuple[dict[str, str], dict[str, str]] = ({}, {}),
) -> list[tuple[str, list[str], int]]:
    """(cause, steps it lies in, how many follow) of every step whose key differs from its place in old."""
    then, now = View(State(old, files=files[0]), traces.get), View(State(new, files=files[1]), traces.get)
    pairs = dict(pair(now, range(len(new)), then, range(len(old)))[0])
    wanted: dict[int, Earlier | Cause] = {
        n: Earlier("then", pairs[n]) for n, one in enumerate(new) if n in pairs and one.key != old[pairs[n]].key
    }
    store = MemoryStore()
    found = Explainer(now, {"then": then}, store.read).explain(wanted, now.state.behind(range(len(new))))
    return [(cause.text, [new[n].label for n in own], len(behind)) for cause, own, behind in found.roots()]


MADE = "made //:a#Run out"


def test_a_step_that_is_not_reproducible_is_named() -> None:
    old = [step("//:a", "a"), step("//:b", "b1", 0)]
    new = [step("//:a", "a"), step("//:b", "b2", 0)]
    traces = {"b1": trace(("input a at /a", "d1", MADE)), "b2": trace(("input a at /a", "d2", MADE))}
    assert explain(old, new, traces) == [("//:a Run made something else from the same inputs", ["//:b"], 0)]


def test_a_new_version_of_hb() -> None:
    old, new = [step("//:a", "1", mnemonic="layer")], [step("//:a", "2", mnemonic="layer")]
    traces = {"1": trace(("operation", "1+zstd1.5")), "2": trace(("operation", "2+zstd1.5"))}
    assert explain(old, new, traces) == [("hb's operation layer", ["//:a"], 0)]


def test_a_trace_that_is_gone_is_not_guessed() -> None:
    assert explain([step("//:a", "1")], [step("//:a", "2")], {"2": trace(("timeout", "1"))}) == [
        ("what made //:a Run is no longer known", ["//:a"], 0)
    ]


def test_only_the_order_of_inputs() -> None:
    rows = [("input x at /", "d1", "made //:x#Run out"), ("input y at /", "d2", "made //:y#Run out")]
    traces = {"1": trace(*rows), "2": trace(*rows[::-1])}
    assert explain([step("//:a", "1")], [step("//:a", "2")], traces) == [
        ("order of the inputs of //:a Run", ["//:a"], 0)
    ]


def test_several_edited_files_are_all_named() -> None:
    old, new = [step("//p:a", "1")], [step("//p:a", "2")]
    traces = {"1": trace(("environment A", "1")), "2": trace(("environment A", "2"))}
    before = {"p/BUILD.py": "1", "rules/x.py": "1", "macros.py": "1", "other/BUILD.py": "1"}
    after = dict.fromkeys(before, "2")
    then, now = View(State(old, files=before), traces.get), View(State(new, files=after), traces.get)
    found = Explainer(now, {"then": then}, MemoryStore().read).explain({0: Earlier("then", 0)}, [0])
    (cause,) = found.steps[0].own
    assert cause.text == "environment A"
    assert cause.through == "rules/x.py or macros.py or p/BUILD.py"


def test_a_file_that_only_one_build_read_says_nothing() -> None:
    old, new = [step("//p:a", "1")], [step("//p:a", "2")]
    traces = {"1": trace(("environment A", "1")), "2": trace(("environment A", "2"))}
    files = {"p/BUILD.py": "1"}, {"p/BUILD.py": "1", "macros.py": "2", "q/BUILD.py": "3"}
    assert explain(old, new, traces, files) == [("environment A", ["//p:a"], 0)]


def test_a_cause_deep_down_is_named_once() -> None:
    count = 3000  # deeper than Python's recursion
    old = [step(f"//:t{n}", f"old{n}", *([n - 1] if n else [])) for n in range(count)]
    new = [step(f"//:t{n}", f"new{n}", *([n - 1] if n else [])) for n in range(count)]
    traces = {"old0": trace(("input s at /s", "d1", "file s.c")), "new0": trace(("input s at /s", "d2", "file s.c"))}
    for n in range(1, count):
        for age in ("old", "new"):
            traces[f"{age}{n}"] = trace(("input t at /t", f"{age}{n - 1}", f"made //:t{n - 1}#Run out"))
    assert explain(old, new, traces) == [("source s.c edited", ["//:t0"], count - 1)]


def fetch(name: str, version: str) -> Trace:
    return trace(("command", version), subject=json.dumps({"package": name, "version": version, "arch": "amd64"}))


def test_packages_pair_by_name_never_by_place() -> None:
    old = [step("//:p", f"{n}-1", mnemonic="debian") for n in ("bash", "cpp", "gcc")]
    new = [step("//:p", k, mnemonic="debian") for k in ("bash-1", "awk-1", "gcc-2")]
    traces = {f"{n}-{v}": fetch(n, str(v)) for n in ("awk", "bash", "cpp", "gcc") for v in (1, 2)}
    then, now = View(State(old), traces.get), View(State(new), traces.get)
    assert pair(now, range(3), then, range(3)) == ([(0, 0), (2, 2)], [1], [1])


def test_nearest_settings_stand_in() -> None:
    old = [step("//:a", "1", settings="cuda=12")]
    new = [step("//:a", "2", settings="cuda=13")]
    traces = {"1": trace(("command", "x")), "2": trace(("command", "y"))}
    assert explain(old, new, traces) == [("setting cuda 12 → 13", ["//:a"], 0)]


# --- the history as a whole -------------------------------------------------------------------------


@pytest.fixture
def past(tmp_path: Path) -> Any:
    class Made:
        history = History(tmp_path)
        count = 0

        def build(self, key: str, outcome: str = "built", workspace: str = "/ws", settings: str = "") -> Head:
            self.count += 1
            steps = [step("//:a", key, settings=settings)]
            events = [] if outcome == "hit-local" else [Event(0, outcome, 1.0, "", "", "")]
            traces = {key: trace(("environment A", key))} if events and key else {}
            head = Head(f"b{self.count}", float(self.count * 3600), workspace, (), 1.0, {outcome: 1})
            return self.history.add(head, Record(State(steps, [Shown("//:a", settings, "tree", [0])]), events, traces))

        def why(self, head: Head) -> list[str]:
            store = MemoryStore()
            answer = why(Past(self.history, store), head, "//:a", store, store.read, now=self.count * 3600.0)
            text = "\n".join(lines_of(answer, now=0.0))
            assert all(cause["text"] in text for cause in json_of(answer)["causes"])
            return [f"{cause['text']} {' '.join(cause['details'])}".strip() for cause in json_of(answer)["causes"]]

    return Made()


def test_the_newest_earlier_state_counts_also_when_it_was_a_hit(past: Any) -> None:
    past.build("1")
    past.build("2")
    past.build("1", "hit-local")
    assert past.why(past.build("3")) == ["environment A 1 → 3"]


def test_the_own_workspace_and_the_same_settings_come_first(past: Any) -> None:
    past.build("1")
    past.build("2", workspace="/other")
    past.build("3", settings="cuda=13")
    assert past.why(past.build("4")) == ["environment A 1 → 4"]
    assert past.why(past.build("5", workspace="/other")) == ["environment A 2 → 5"]
    assert past.why(past.build("6", workspace="/third")) == ["environment A 5 → 6"]


def test_the_same_key_again(past: Any) -> None:
    past.build("1", "timeout")
    assert past.why(past.build("1")) == ["timeout in build b1; only successes are kept"]
    past.build("1", "hit-local")
    assert past.why(past.build("1", "evicted")) == ["its result is no longer in the store (last used 1 hour ago)"]


def test_what_was_evicted_to_make_room(past: Any) -> None:
    past.build("1")
    past.history.note_sweep(1.0, "another")  # before it was used
    past.history.note_sweep(2 * 3600.0, "store quota 20 GiB")
    past.count += 1
    assert past.why(past.build("1", "evicted")) == ["evicted 1 hour ago (store quota 20 GiB), last used 2 hours ago"]


def test_what_never_started(past: Any) -> None:
    assert past.why(past.build("", "skipped")) == ["not started: something it needs failed, or the build was stopped"]


def test_a_remote_hit_is_a_hit(past: Any) -> None:
    past.build("1")
    assert past.why(past.build("2", "hit-remote")) == []


def test_a_damaged_earlier_record_is_passed_over(past: Any, tmp_path: Path) -> None:
    past.build("1")
    second = past.build("2")
    (tmp_path / "states" / second.state).write_bytes(b"torn")
    past.history = History(tmp_path)
    assert past.why(past.build("3")) == ["environment A 1 → 3"]


def test_long_answers_are_cut_and_say_so(tmp_path: Path) -> None:
    history, store = History(tmp_path), MemoryStore()
    count = 3 * SHOWN
    for age in (1, 2):
        steps = [step(f"//:t{n}", f"{age}-{n}") for n in range(count)]
        traces = {f"{age}-{n}": trace((f"input s{n} at /s", str(age), f"file s{n}.c")) for n in range(count)}
        events = [Event(n, "built", 1.0, "", "", "") for n in range(count)]
        state = State(steps, [Shown("//:all", "", "tree", list(range(count)))])
        head = history.add(Head(f"b{age}", float(age), "/ws", (), 1.0, {"built": count}), Record(state, events, traces))
    answer = why(Past(history, store), head, "//:all", store, store.read)
    short, full = list(lines_of(answer)), list(lines_of(answer, everything=True))
    assert f"and {count - SHOWN} more causes (--all shows them)" in short
    assert f"and {count - SHOWN} more actions (--all shows them)" in short
    assert len(json_of(answer)["causes"]) == count
    assert sum(line.startswith("built") for line in full) == count


def test_what_comes_from_elsewhere_is_shown_not_obeyed() -> None:
    assert printable("source a\x1b[31m\r\nb edited") == "source a\\x1b[31m\\r\\nb edited"
    assert printable("←  ünïcode") == "←  ünïcode"
