"""The main job on a small scale, through the launcher: cold, null, one edit, another folder, wiped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

CHAIN = """
command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out && cat a.txt > out/a")
command(name="b", rootfs=":rootfs", srcs=["b.txt"], cmd="mkdir -p out && cat b.txt > out/b")
command(name="ab", rootfs=":rootfs", deps=[":a", ":b"], cmd="mkdir -p out && cat a/a b/b > out/ab")
"""


@pytest.fixture
def chain(workspace):
    workspace.write("a.txt", "one\n")
    workspace.write("b.txt", "two\n")
    workspace.build_file(CHAIN)
    return workspace


def test_cold_null_and_one_edit(chain) -> None:
    cold = chain.hb("build", "//:ab", "--json")
    assert cold.code == 0, cold.err
    assert cold.built == 3
    assert (chain.root / "hb-out/ab/ab").read_text() == "one\ntwo\n"
    null = chain.hb("build", "//:ab", "--json")
    assert null.built == 0
    assert null.target("//:ab")["digest"] == cold.target("//:ab")["digest"]
    assert null.target("//:ab")["outcome"] == "hit-local"
    chain.write("b.txt", "three\n")
    edited = chain.hb("build", "//:ab", "--json")
    assert edited.built == 2  # b and ab, not a
    assert (chain.root / "hb-out/ab/ab").read_text() == "one\nthree\n"
    chain.write("b.txt", "two\n")
    assert chain.hb("build", "//:ab", "--json").built == 0


def test_another_folder_with_the_same_store_runs_nothing(chain, tmp_path: Path) -> None:
    first = chain.hb("build", "//:ab", "--json")
    shutil.copytree(chain.root, tmp_path / "elsewhere", symlinks=True, ignore=shutil.ignore_patterns("hb-out", ".hb"))
    moved = type(chain)(tmp_path / "elsewhere", chain.store)
    second = moved.hb("build", "//:ab", "--json")
    assert second.built == 0, second.err
    assert second.target("//:ab")["digest"] == first.target("//:ab")["digest"]


def test_a_wiped_store_gives_the_same_digests(chain) -> None:
    first = chain.hb("build", "//...", "--json")
    subprocess.run(["rm", "-rf", str(chain.store)], check=True)
    second = chain.hb("build", "//...", "--json")
    assert first.code == second.code == 0
    outcomes = second.summary["outcomes"]  # what a snapshot still knows is evicted, the rest is new
    assert outcomes.get("built", 0) + outcomes.get("evicted", 0) == first.built
    for label in ("//:a", "//:b", "//:ab"):
        assert first.target(label)["digest"] == second.target(label)["digest"]


def test_lost_blobs_are_made_again(chain) -> None:
    chain.build_file(CHAIN.replace("cat a.txt >", "cat a.txt a.txt >"))
    chain.hb("build", "//:ab")
    for path in (chain.store / "cas").rglob("*"):
        if path.is_file() and path.read_bytes() == b"one\none\n":
            path.chmod(0o644)
            path.write_bytes(b"")  # torn, as after a power failure
    subprocess.run(["rm", "-rf", str(chain.store / "stage")], check=True)
    chain.write("b.txt", "new\n")
    again = chain.hb("build", "//:ab", "--json")
    assert again.code == 0, again.err
    assert (chain.root / "hb-out/ab/ab").read_text() == "one\none\nnew\n"
    assert again.summary["outcomes"].get("evicted") == 1


def test_stdout_has_one_line_per_target(chain) -> None:
    done = chain.hb("build", "//:a", "//:b")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[0] for row in rows] == ["//:a", "//:b"]
    assert all(len(row) == 3 and row[1].startswith("sha256:") and Path(row[2]).exists() for row in rows)


def test_a_failure_shows_its_log_its_line_and_the_next_step(chain) -> None:
    chain.build_file(CHAIN + 'command(name="bad", rootfs=":rootfs", cmd="echo oh no >&2; exit 9")\n')
    done = chain.hb("build", "//:bad")
    assert done.code == 1
    for words in ("oh no", "failed with exit 9", "BUILD.py:", "//:bad", "hb shell //:bad"):
        assert words in done.err
    assert chain.hb("build", "//:bad", "--json").built == 0  # a failure is never a hit


def test_keep_going_builds_the_rest(chain) -> None:
    extra = 'command(name="bad", rootfs=":rootfs", cmd="exit 1")\ncommand(name="c", rootfs=":rootfs", deps=[":bad"], cmd="true")\n'
    chain.build_file(CHAIN + extra)
    done = chain.hb("build", "//...", "--keep-going", "--json")
    assert done.code == 1
    assert done.summary["outcomes"]["failed"] == 1
    assert done.summary["outcomes"]["skipped"] == 1
    assert done.target("//:ab")["outcome"] == "built"


def test_dry_run_runs_nothing(chain) -> None:
    done = chain.hb("build", "//:ab", "--dry-run")
    assert done.code == 0
    assert "would run" in done.err
    assert not (chain.root / "hb-out").exists()


def test_a_timeout_is_an_outcome(chain) -> None:
    chain.build_file('command(name="slow", rootfs=":rootfs", cmd="sleep 60", timeout=1)\n')
    done = chain.hb("build", "//:slow", "--json")
    assert done.code == 1
    assert done.summary["outcomes"] == {"timeout": 1}


@pytest.mark.parametrize(
    ("cmd", "kind", "phrase"),
    [
        ("true", "blob", "did not make its output /build/out"),
        ("mkdir -p out", "blob", "is a directory, but it is declared as a regular file"),
        ("rm -rf out; echo x > out", "tree", "is a regular file, but it is declared as a directory"),
        ("rm -rf out; ln -s / out", "tree", "is a symbolic link"),
        ("ln -s /etc/passwd out", "blob", "is a symbolic link"),
        ("mkfifo out/pipe", "tree", "is a named pipe"),
        ("mkfifo out", "blob", "is a named pipe"),
        ("touch out/$'\\xff'", "tree", "not UTF-8"),
        ("kill -9 $$", "tree", "ended by signal 9"),
    ],
)
def test_bad_outputs(chain, cmd: str, kind: str, phrase: str) -> None:
    chain.build_file(f'command(name="x", rootfs=":rootfs", cmd={cmd!r}, kind={kind!r})\n')
    done = chain.hb("build", "//:x")
    assert done.code == 1
    assert phrase in done.err, done.err
    assert not (chain.root / "hb-out/x").exists()


def test_outputs_nobody_declared_are_left_behind(chain) -> None:
    chain.build_file('command(name="x", rootfs=":rootfs", cmd="echo a > out/a; echo b > other")\n')
    assert chain.hb("build", "//:x").code == 0
    assert sorted(p.name for p in (chain.root / "hb-out/x").iterdir()) == ["a"]


def test_cleanup_survives_hostile_modes(chain) -> None:
    script = "mkdir -p d/e out; touch d/e/f; chmod 000 d/e/f d/e d; mkdir out/locked; touch out/locked/f; chmod 000 out/locked"
    chain.build_file(f'command(name="x", rootfs=":rootfs", cmd={script!r})\n')
    done = chain.hb("build", "//:x")
    assert done.code == 0, done.err
    work = chain.store / "work"
    assert not work.exists() or not any(work.iterdir())


def test_a_deep_output_tree(chain) -> None:
    script = "cd out; for i in $(echo {1..300}); do mkdir d && cd d; done; echo x > f"
    chain.build_file(f'command(name="x", rootfs=":rootfs", cmd={script!r})\n')
    done = chain.hb("build", "//:x")
    assert done.code == 0, done.err


def test_inputs_in_the_store_cannot_be_changed_by_an_action(chain) -> None:
    """Staged files share inodes with the store: a command that could write them would poison it."""
    script = "chmod u+w a.txt; echo evil > a.txt; echo evil >> /bin/cat; truncate -s 0 /bin/bash; mkdir -p out"
    chain.build_file(CHAIN + f'command(name="x", rootfs=":rootfs", srcs=["a.txt"], cmd={script!r})\n')
    chain.hb("build", "//:x")
    done = chain.hb("build", "//:ab", "--json")
    assert done.code == 0, done.err
    assert (chain.root / "hb-out/ab/ab").read_text() == "one\ntwo\n"


def test_changing_the_root_is_recorded_with_owners(chain) -> None:
    script = "chown alice:staff /etc/passwd && chown 5:6 /etc/group && rm /bin/yes && echo x > /etc/new && chmod 640 /etc/new"
    chain.build_file(f'command(name="x", rootfs=":rootfs", modify=True, cmd={script!r})\n')
    done = chain.hb("build", "//:x", "--json")
    assert "a tree with deletions cannot be staged" in done.err or done.code == 0


def test_tests_pass_fail_and_are_cached(chain) -> None:
    chain.build_file('test_command(name="t", rootfs=":rootfs", is_test=True, cmd="mkdir -p out; exit 0")\n')
    assert chain.hb("test", "//...").code == 0
    assert chain.hb("test", "//...", "--json").built == 0
    chain.build_file('test_command(name="t", rootfs=":rootfs", is_test=True, cmd="echo wrong; exit 1")\n')
    done = chain.hb("test", "//...")
    assert done.code == 3
    assert "wrong" in done.err
    chain.build_file("")
    assert chain.hb("test", "//...").code == 4


def test_interrupting_leaves_nothing_running(chain) -> None:
    marker = f"4{os.getpid()}"
    chain.build_file(f'command(name="slow", rootfs=":rootfs", cmd="sleep {marker}")\n')
    process = subprocess.Popen(
        [str(Path(__file__).parents[2] / "hb"), "build", "//:slow"],
        cwd=chain.root,
        env={**os.environ, "HB_STORE": str(chain.store)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not running(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 8, err
    assert not running(marker)


def running(marker: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [b"sleep", marker.encode()]:
                return True
    return False


@pytest.mark.parametrize(
    ("words", "code", "phrase"),
    [
        (["build", "//:nothing"], 7, "there is no target //:nothing"),
        (["build", "//nowhere:x"], 7, "there is no package //nowhere"),
        (["build", "//:a:b"], 2, "may not contain ':'"),
        (["build", "--set", "x"], 2, "the following arguments are required"),
        (["build", "//:a", "--set", "nonsense=1"], 7, "there is no setting 'nonsense'"),
        (["build", "//:a", "--config", "fst"], 2, "did you mean 'fast'"),
        (["build", "//:a", "--jbos", "2"], 2, "did you mean '--jobs'"),
        (["biuld", "//:a"], 2, "did you mean 'build'"),
        (["build"], 2, "required"),
        (["log", "nothing"], 2, "there is no build"),
    ],
)
def test_exit_codes(chain, words: list[str], code: int, phrase: str) -> None:
    done = chain.hb(*words)
    assert (done.code, phrase in done.err) == (code, True), done.err


@pytest.mark.parametrize(
    "verb",
    ["build", "test", "run", "fetch", "lock", "vendor", "shell", "config", "image", "log", "doctor", "clean", "info"],
)
def test_every_command_has_help_with_an_example(chain, verb: str) -> None:
    done = chain.hb(verb, "--help")
    assert done.code == 0
    assert f"example:\n  hb {verb}" in done.out


def test_shell_enters_a_failed_action(chain) -> None:
    chain.build_file('command(name="bad", rootfs=":rootfs", srcs=["a.txt"], cmd="exit 9")\n')
    done = chain.hb("shell", "//:bad", "--", "/bin/cat", "a.txt")
    assert (done.code, done.out) == (0, "one\n"), done.err


def test_clean_keeps_the_store(chain) -> None:
    chain.hb("build", "//:a")
    assert chain.hb("clean").code == 0
    assert not (chain.root / "hb-out").exists()
    assert chain.hb("build", "//:a", "--json").built == 0


def test_log_shows_what_an_action_printed(chain) -> None:
    chain.build_file('command(name="x", rootfs=":rootfs", cmd="echo hello from x")\n')
    chain.hb("build", "//:x")
    assert "hello from x" in chain.hb("log", "--action", "//:x").out
    assert "hb build //:x" in chain.hb("log").out


def test_jobs_do_not_change_results(chain) -> None:
    one = chain.hb("build", "//...", "--jobs", "1", "--json")
    subprocess.run(["rm", "-rf", str(chain.store)], check=True)
    two = chain.hb("build", "//...", "--jobs", "2", "--json")
    assert one.target("//:ab")["digest"] == two.target("//:ab")["digest"]


def test_run_builds_and_becomes_the_program(chain) -> None:
    chain.build_file(
        'command(name="p", rootfs=":rootfs", kind="blob", cmd="printf \'#!/bin/sh\\necho ran $*; exit 5\\n\' > out; chmod +x out")\n'
        'command(name="two", rootfs=":rootfs", cmd="mkdir out/bin; for f in x y; do cp /bin/true out/bin/$f; done")\n'
        'command(name="none", rootfs=":rootfs", cmd="echo > out/file")\n'
    )
    done = chain.hb("run", "//:p", "--", "one", "--two")
    assert (done.code, done.out) == (5, "ran one --two\n"), done.err
    several = chain.hb("run", "//:two")
    assert (several.code, "--program bin/x | bin/y" in several.err) == (2, True), several.err
    assert chain.hb("run", "//:two", "--program", "bin/y").code == 0
    assert chain.hb("run", "//:none").code == 2
