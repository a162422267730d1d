"""The executor's promises: what runs, how often, and what happens when something goes wrong."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermetic.action import Mode
from hermetic.digest import Digest
from hermetic.errors import InternalError
from hermetic.sandbox.spec import Ending
from hermetic.store.disk import DiskStore
from hermetic.store.protocols import MissingBlob


def outcomes(result: Any) -> dict[str, str]:
    return {name: done.outcome.value for name, done in result.finished.items()}


def fetch_action(world: Any, name: str, **params: str) -> str:
    return world.add(name, mode=Mode.FETCH, argv=("http", json.dumps(params)))


def test_inputs_come_before_their_users(world) -> None:
    world.add("a", world.source("a.txt", "one"))
    world.add("b", "a")
    world.add("c", "a", "b")
    result = world.build("c")
    assert world.sandbox.ran == ["a", "b", "c"]
    assert world.text(result, "c") == "caonebaone"


def test_a_null_build_runs_nothing(world) -> None:
    world.add("a", world.source("a.txt", "one"))
    world.add("b", "a")
    world.build("b")
    again = world.build("b")
    assert world.sandbox.ran == []
    assert outcomes(again) == {"a": "hit-local", "b": "hit-local"}


def test_only_what_is_asked_for_runs(world) -> None:
    world.add("a")
    world.add("b")
    world.build("b")
    assert world.sandbox.ran == ["b"]


def test_an_edit_runs_its_cone_and_stops_where_nothing_changed(world) -> None:
    world.sandbox.commands["lines"] = lambda spec, work, cancel: (work / "out-out").write_text("same") * 0
    world.add("a", world.source("a.txt", "one"), command="lines")
    world.add("b", "a")
    world.add("c", world.source("c.txt", "c"))
    world.build("b", "c")
    world.source("a.txt", "two")
    world.build("b", "c")
    assert world.sandbox.ran == ["lines"]  # its output is what it was, so b is a hit


def test_equal_actions_run_once(world) -> None:
    barrier = threading.Event()

    def slow(spec: Any, work: Any, cancel: Any) -> int:
        barrier.wait(0.2)
        (work / "out-out").write_text("x")
        return 0

    world.sandbox.commands["same"] = slow
    for name in ("a", "b", "c", "d"):
        world.add(name, command="same")
    result = world.build("a", "b", "c", "d", jobs=4)
    assert world.sandbox.ran == ["same"]
    assert sorted(outcomes(result).values()) == ["built", "hit-local", "hit-local", "hit-local"]


def test_equal_actions_that_fail_run_once_and_all_fail(world) -> None:
    barrier = threading.Event()
    world.sandbox.commands["same"] = lambda spec, work, cancel: 1 + 0 * barrier.wait(0.2)
    world.add("a", command="same")
    world.add("b", command="same")
    assert set(outcomes(world.build("a", "b", keep_going=True)).values()) == {"failed"}


def test_a_failure_stops_the_build_and_skips_the_rest(world) -> None:
    world.sandbox.commands["bad"] = lambda spec, work, cancel: 3
    world.add("bad")
    world.add("user", "bad")
    world.add("other", "user")
    result = world.build("other", jobs=1)
    assert outcomes(result) == {"bad": "failed", "user": "skipped", "other": "skipped"}
    (done,) = result.failures
    assert done.error is not None
    assert "failed with exit 3" in str(done.error)
    assert "BUILD.py:1" in str(done.error)
    assert "log of bad" in done.tail


def test_keep_going_builds_what_does_not_depend_on_the_failure(world) -> None:
    world.sandbox.commands["bad"] = lambda spec, work, cancel: 1
    world.add("bad")
    world.add("user", "bad")
    world.add("first")
    world.add("second", "first")
    result = world.build("user", "second", jobs=1, keep_going=True)
    assert outcomes(result) == {"bad": "failed", "user": "skipped", "first": "built", "second": "built"}


@pytest.mark.parametrize(
    ("ending", "word"), [(Ending.TIMEOUT, "timeout"), (Ending.OOM, "oom"), (Ending.SIGNALLED, "failed")]
)
def test_an_ending_is_an_outcome_and_is_never_stored(world, ending: Ending, word: str) -> None:
    world.add("a")
    world.sandbox.ending = ending
    world.sandbox.commands["a"] = lambda spec, work, cancel: 137
    assert outcomes(world.build("a")) == {"a": word}
    world.sandbox.ending = Ending.EXITED
    del world.sandbox.commands["a"]
    assert outcomes(world.build("a")) == {"a": "built"}


def test_a_doubtful_success_is_used_but_not_stored(world) -> None:
    world.add("a")
    world.sandbox.tainted = "the disk was full while it ran"
    assert outcomes(world.build("a")) == {"a": "built"}
    assert outcomes(world.build("a")) == {"a": "built"}
    world.sandbox.tainted = ""
    world.build("a")
    assert outcomes(world.build("a")) == {"a": "hit-local"}


def test_a_missing_output_fails_and_says_which(world) -> None:
    world.sandbox.commands["a"] = lambda spec, work, cancel: 0
    world.add("a")
    result = world.build("a")
    assert "did not make its output /build/out" in str(result.failures[0].error)


def test_a_test_that_fails_has_its_own_exit_code(world) -> None:
    world.sandbox.commands["t"] = lambda spec, work, cancel: 1
    world.add("t", test=True)
    (done,) = world.build("t").failures
    assert done.error is not None
    assert done.error.exit_code == 3


def test_a_defect_in_a_worker_is_an_internal_error_with_its_cause(world) -> None:
    def broken(spec: Any, work: Any, cancel: Any) -> int:
        raise RuntimeError("a defect")

    world.sandbox.commands["a"] = broken
    world.add("a")
    (done,) = world.build("a").failures
    assert isinstance(done.error, InternalError)
    assert isinstance(done.error.__cause__, RuntimeError)


def test_a_missing_source_names_the_file_and_the_line(world) -> None:
    from hermetic.action import SourceFile

    world.add("a", SourceFile("nothing.txt"))
    (done,) = world.build("a").failures
    assert "nothing.txt does not exist" in str(done.error)
    assert "BUILD.py:1" in str(done.error)


@pytest.mark.parametrize("other", ["new", "known"])
def test_a_source_edited_during_the_build_is_found_and_nothing_is_stored(world, other: str) -> None:
    source = world.source("a.txt", "old")
    world.store.put(b"known")  # that the new content is in the store hides nothing

    def edits(spec: Any, work: Any, cancel: Any) -> int:
        world.source("a.txt", other)
        (work / "out-out").write_text("x")
        return 0

    world.sandbox.commands["a"] = edits
    world.add("a", source)
    (done,) = world.build("a").failures
    assert "a.txt was edited while it was being built" in str(done.error)
    del world.sandbox.commands["a"]
    world.source("a.txt", "old")
    assert outcomes(world.build("a")) == {"a": "built"}


def test_dry_run_says_what_is_known_of_every_action(world) -> None:
    world.add("known")
    world.build("known")
    world.add("a", "known")
    world.add("b")
    world.add("c", "a")
    fetch_action(world, "f", sha256="0" * 64)
    result = world.build("c", "b", "f", jobs=1, dry_run=True)
    assert world.sandbox.ran == world.fetched == []
    assert outcomes(result) == {
        "known": "hit-local", "a": "skipped", "b": "skipped", "c": "skipped", "f": "skipped",
    }  # fmt: skip
    assert {name for name, done in result.finished.items() if done.key} == {"known", "a", "b", "f"}


def test_a_cancelled_build_stores_nothing_and_says_so(world) -> None:
    world.add("a")
    world.add("b", "a")
    world.cancel.set()
    assert set(outcomes(world.build("b")).values()) == {"skipped"}
    world.cancel.clear()
    assert outcomes(world.build("b")) == {"a": "built", "b": "built"}


def test_ctrl_c_ends_what_runs(world) -> None:
    import os
    import signal

    def waits(spec: Any, work: Any, cancel: Any) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        assert world.cancel.wait(20)
        return 137

    world.sandbox.commands["a"] = waits
    world.add("a")
    world.add("b", "a")
    result = world.build("b")
    assert result.interrupted
    assert set(outcomes(result).values()) == {"skipped"}


# --- lost blobs -----------------------------------------------------------------------------------


def test_a_lost_input_is_made_again_within_the_build(world) -> None:
    world.add("a")
    world.add("b", "a")
    world.build("b")
    world.lose("a")
    world.add("c", "a")
    result = world.build("c")
    # The result of a names a blob that is not there at first sight: no hit.
    assert world.sandbox.ran == ["a", "c"]
    assert world.text(result, "c") == "ca"


class Losing:
    """A store in which reading some blobs fails once, although they seem to be there."""

    def __init__(self, world: Any, *texts: str) -> None:
        self.left = {Digest.of(text.encode()) for text in texts}
        self.whole = world.store.path
        self.lock = threading.Lock()
        world.store.path = self.path

    def path(self, digest: Digest, *, executable: bool = False) -> Any:
        if digest in self.left:
            raise MissingBlob(digest)
        return self.whole(digest, executable=executable)


def test_two_users_of_a_lost_blob_wait_for_one_rerun(world) -> None:
    world.add("p")
    for name in ("u", "v", "w"):
        world.add(name, "p")
    world.build("p")
    losing = Losing(world, "p")
    gate = threading.Event()
    whole_has = world.store.has
    world.store.has = lambda digest: digest not in losing.left and whole_has(digest)
    first_missing = world.store.missing
    world.store.missing = lambda digests: []  # at first sight all is there

    def again(spec: Any, work: Any, cancel: Any) -> int:
        gate.wait(0.2)  # the other users fail meanwhile, and must wait
        losing.left.clear()
        world.store.missing = first_missing
        (work / "out-out").write_text("p")
        return 0

    world.sandbox.commands["p"] = again
    result = world.build("u", "v", "w", jobs=3)
    assert outcomes(result) == {"p": "evicted", "u": "built", "v": "built", "w": "built"}
    assert sorted(world.sandbox.ran) == ["p", "u", "v", "w"]
    assert len(world.events.outcomes) == len(set(world.events.outcomes))


def test_an_input_that_stays_lost_is_an_error_not_a_loop(world) -> None:
    world.add("p")
    world.add("u", "p")
    world.build("p")
    Losing(world, "p")
    result = world.build("u")
    assert outcomes(result)["u"] == "failed"
    assert isinstance(result.finished["u"].error, MissingBlob)


def test_what_is_known_to_be_incomplete_is_made_again(world) -> None:
    world.add("a")
    world.build("a")
    assert outcomes(world.build("a", again=["a"])) == {"a": "evicted"}
    assert world.sandbox.ran == ["a"]


# --- fetching -------------------------------------------------------------------------------------


def test_fetches_go_together_and_once(world) -> None:
    for name in ("x", "y", "z"):
        fetch_action(world, name, sha256=Digest.of(name.encode()).hash)
        world.content[f"//:{name}"] = name.encode()
    world.add("user", "x", "y", "z")
    result = world.build("user")
    assert sorted(world.fetched) == ["//:x", "//:y", "//:z"]
    assert world.text(result, "user") == "userxyz"
    world.build("user")
    assert world.fetched == []


def test_a_blob_the_store_has_is_not_fetched(world) -> None:
    digest = world.store.put(b"here already")
    fetch_action(world, "x", sha256=digest.hash)
    assert outcomes(world.build("x")) == {"x": "hit-local"}
    assert world.fetched == []


def test_a_torn_blob_does_not_pass_for_its_pin(world) -> None:
    world.store.put(b"content")
    world.lose("content")
    fetch_action(world, "x", sha256=Digest.of(b"content").hash)
    world.content["//:x"] = b"content"
    result = world.build("x")
    assert outcomes(result) == {"x": "built"}
    assert world.text(result, "x") == "content"


def test_one_unreachable_source_fails_alone(world) -> None:
    fetch_action(world, "x", sha256="1" * 64)
    fetch_action(world, "y", sha256="2" * 64)
    world.content["//:y"] = b"y"
    result = world.build("x", "y", keep_going=True)
    assert outcomes(result) == {"x": "failed", "y": "built"}
    assert "BUILD.py:1" in str(result.failures[0].error)


# --- any graph ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(st.sets(st.integers(0, 11), max_size=4), min_size=1, max_size=12),
    jobs=st.integers(1, 4),
    bad=st.sets(st.integers(0, 11), max_size=3),
)
def test_any_graph_ends_with_every_action_accounted_for(world, edges: list[set[int]], jobs: int, bad: set[int]) -> None:
    """Keep going: an action is built exactly when nothing below it is bad."""
    world.actions.clear()
    world.store = DiskStore(world.root.parent / f"store-{len(list(world.root.parent.iterdir()))}")
    world.sandbox.commands = {f"n{one}": lambda spec, work, cancel: 1 for one in bad}
    below: dict[int, set[int]] = {}
    for number, needs in enumerate(edges):
        direct = {one for one in needs if one < number}
        below[number] = direct.union(*(below[one] for one in direct))
        world.add(f"n{number}", *(f"n{one}" for one in sorted(direct)))
    result = world.build(*world.actions, jobs=jobs, keep_going=True)
    for number in below:
        word = result.finished[f"n{number}"].outcome.value
        if below[number] & bad:
            assert word == "skipped"
        else:
            assert word == ("failed" if number in bad else "built")
