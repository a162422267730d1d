"""The scheduler as people meet it: memory that runs out, two builds at once, Ctrl-C, and what never matters."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hermetic.sandbox.cgroup import Groups
from hermetic.sandbox.jobserver_tools import tools_in

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.sandbox


@pytest.fixture
def tooled(workspace):
    """The root filesystem with a make, so that a jobserver is offered."""
    add_program(workspace, "make")
    return workspace


def add_program(workspace, name: str) -> None:
    found = shutil.which(name, path="/usr/bin")
    if found is None:
        pytest.skip(f"no {name}")
    shutil.copy2(Path(found).resolve(), workspace.root / "rootfs/bin" / name)
    for word in subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout.split():
        place = workspace.root / "rootfs" / word.lstrip("/").removeprefix("usr/")
        if word.startswith("/lib") and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(word).resolve(), place)


def results(workspace) -> dict[str, str]:
    """Key → digests of what the result names."""
    from hermetic.proto import reapi_pb2 as pb

    found = {}
    for path in (workspace.store / "ac").rglob("*"):
        if path.is_file():
            message = pb.ActionResult.FromString(path.read_bytes())
            digests = [one.root_directory_digest.hash for one in message.output_directories]
            found[path.name] = " ".join(digests + [one.digest.hash for one in message.output_files])
    return found


def test_keys_and_outputs_are_the_same_with_1_and_16_jobs_and_whatever_is_claimed(tooled) -> None:
    tooled.write("Makefile", "all: a b c\na b c:\n\techo $@ > $@\n")
    make = "make && mkdir -p out && cat a b c > out/all"
    extra = ""
    seen = []
    for jobs in ("1", "16"):
        tooled.build_file(f'command(name="m", rootfs=":rootfs", srcs=["Makefile"], cmd={make!r}{extra})\n')
        done = tooled.hb("build", "//:m", "--jobs", jobs, "--json")
        assert done.code == 0, done.err
        seen.append(results(tooled))
        subprocess.run(["rm", "-rf", str(tooled.store)], check=True)
        extra = ', cpu=2, memory="300M", jobs_memory="10M", exclusive=True'
    assert seen[0] == seen[1] != {}


def test_an_old_ninja_runs_as_many_jobs_as_it_is_told_and_its_key_knows_nothing_of_it(tooled) -> None:
    """What the meson rule does: a number from the environment, and only where ninja needs one."""
    add_program(tooled, "ninja")
    if tools_in([tooled.root / "rootfs"]).ninja != "old":
        pytest.skip("this ninja listens to a jobserver")
    edges = "".join(f"build o{n}: r\n" for n in range(6))
    # O_APPEND writes of a few bytes are whole, and in order
    tooled.write(
        "build.ninja", "rule r\n  command = echo start >> log; sleep 0.1; echo end >> log; touch $out\n" + edges
    )
    script = "ninja ${NINJAFLAGS:-} && mkdir -p out && ls o? > out/all && cat log >&2"
    tooled.build_file(f'command(name="n", rootfs=":rootfs", srcs=["build.ninja"], cmd={script!r})\n')
    seen = []
    for jobs in (1, 3):
        done = tooled.hb("build", "//:n", "--jobs", str(jobs), "--json")
        assert done.code == 0, done.err
        words = tooled.hb("log", "last", "--action", "//:n").out.split()
        assert most_running(words) == jobs
        seen.append(results(tooled))
        subprocess.run(["rm", "-rf", str(tooled.store)], check=True)
    assert seen[0] == seen[1] != {}


def most_running(words: list[str]) -> int:
    now = most = 0
    for word in words:
        now += (word == "start") - (word == "end")
        most = max(most, now)
    return most


def test_two_makes_share_the_machine_s_jobs(tooled) -> None:
    """Stamps of both, merged: never more jobs than --jobs, more than one in each make at some time."""
    tooled.write(
        "Makefile",
        "all: $(foreach n,1 2 3 4 5 6 7 8,j$(n))\nj%:\n\t@date +%s.%N > out/$@.start; sleep 0.3; date +%s.%N > out/$@.end\n",
    )
    text = "".join(
        f'command(name="m{n}", rootfs=":rootfs", srcs=["Makefile"], cmd="mkdir -p out; make # {n}")\n' for n in range(2)
    )
    tooled.build_file(text)
    done = tooled.hb("build", "//:m0", "//:m1", "--jobs", "3", "--json")
    assert done.code == 0, done.err
    log = tooled.hb("log", "last", "--action", "//:m0")
    assert log.code == 0 and "jobserver" not in log.out
    spans, most = [], 0
    for name in ("m0", "m1"):
        folder = tooled.root / "hb-out" / name
        mine = [
            (float((folder / f"j{n}.start").read_text()), float((folder / f"j{n}.end").read_text()))
            for n in range(1, 9)
        ]
        spans += mine
        most = max(most, at_once(mine))
    assert most >= 2
    assert at_once(spans) <= 3


def at_once(spans: list[tuple[float, float]]) -> int:
    events = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


STAMPED = "mkdir -p out; date +%s.%N > out/start; sleep 0.4; date +%s.%N > out/end"


@pytest.mark.parametrize(
    ("claims", "options", "most"),
    [
        ("", ("--jobs", "3"), 3),
        ("", ("--jobs", "3", "--local-cpu", "1"), 1),
        ("cpu=2", ("--jobs", "3"), 1),
        ("cpu=2", ("--jobs", "3", "--local-cpu", "4"), 2),
        ("cpu=99", ("--jobs", "3"), 1),  # more than there is: alone
        ("exclusive=True", ("--jobs", "3"), 1),
        ('memory="400M"', ("--jobs", "3", "--local-memory", "1G"), 2),
    ],
)
def test_what_targets_claim_and_options_allow_decides_how_many_run(
    workspace, claims: str, options: tuple[str, ...], most: int
) -> None:
    names = [f"t{number}" for number in range(3)]
    workspace.build_file(
        "".join(
            f'command(name="{name}", rootfs=":rootfs", cmd={STAMPED + f" # {name}"!r}, {claims})\n' for name in names
        )
    )
    done = workspace.hb("build", *(f"//:{name}" for name in names), *options, "--json")
    assert done.code == 0, done.err
    spans = []
    for name in names:
        start, end = ((workspace.root / "hb-out" / name / word).read_text() for word in ("start", "end"))
        spans.append((float(start), float(end)))
    if most == 1 or len(options) == 2:
        assert at_once(spans) == most
    else:
        assert 1 < at_once(spans) <= most


@pytest.mark.parametrize(("claims", "jobs"), [("", 6), ('jobs_memory="300M"', 4), ('jobs_memory="2G"', 1)])
def test_memory_for_each_job_limits_how_many_a_tool_is_told(workspace, claims: str, jobs: int) -> None:
    cmd = "mkdir -p out; echo $MAX_JOBS > out/jobs"
    workspace.build_file(f'command(name="x", rootfs=":rootfs", cmd={cmd!r}, memory="100M", {claims})\n')
    done = workspace.hb("build", "//:x", "--jobs", "6", "--local-memory", "1G", "--json")
    assert done.code == 0, done.err
    assert (workspace.root / "hb-out/x/jobs").read_text() == f"{jobs}\n"


def test_a_claim_that_is_no_amount_is_refused_with_its_line(workspace) -> None:
    workspace.build_file('command(name="x", rootfs=":rootfs", cmd="true", memory="lots")\n')
    done = workspace.hb("build", "//:x")
    assert done.code == 7
    assert "memory='lots'" in done.err
    assert "BUILD.py:" in done.err
    workspace.build_file("")
    for words in (("--jobs", "0x"), ("--local-memory", "much"), ("--local-cpu", "-1")):
        assert workspace.hb("build", "//:x", *words).code == 2


def test_a_hog_is_oom_its_neighbour_is_built_and_nothing_of_it_is_stored(workspace) -> None:
    if Groups.find().memory is None:
        pytest.skip("no memory controller may be used here")
    hog = 'x=$(head -c 200000000 /dev/zero | tr "\\\\0" x 2>/dev/null || true); x=$(printf "%0150000000d" 1); echo ${#x} > out'
    workspace.build_file(
        f'command(name="hog", rootfs=":rootfs", cmd={hog!r}, kind="blob")\n'
        'command(name="ok", rootfs=":rootfs", cmd="mkdir -p out; sleep 0.5; echo ok > out/ok")\n'
    )
    done = workspace.hb("build", "//:hog", "//:ok", "--keep-going", "--local-memory", "100M", "--jobs", "2", "--json")
    assert done.code == 1
    assert done.summary["outcomes"] == {"built": 1, "oom": 1}, done.err
    assert "tried again" in done.err
    assert "want of memory" in done.err
    assert len(results(workspace)) == 1
    well = workspace.hb("build", "//:hog", "--json")
    assert well.code == 0, well.err


def test_two_builds_at_once_run_an_action_once(workspace) -> None:
    workspace.build_file('command(name="slow", rootfs=":rootfs", cmd="mkdir -p out; sleep 2; echo x > out/x")\n')
    workspace.hb("build", "//:rootfs")
    env = {**os.environ, "HB_STORE": str(workspace.store)}
    argv = [str(ROOT / "hb"), "build", "//:slow", "--json"]
    both = [
        subprocess.Popen(
            argv, cwd=workspace.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for _ in range(2)
    ]
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum('"built": 1' in text for text in texts) == 1


def test_ctrl_c_leaves_nothing(workspace) -> None:
    script = "mkdir -p out; for i in 1 2 3 4; do sleep 987 & done; wait"
    workspace.build_file(
        "".join(f'command(name="s{n}", rootfs=":rootfs", cmd={script + f" # {n}"!r})\n' for n in range(2))
    )
    before = left_over(workspace, 0)
    env = {**os.environ, "HB_STORE": str(workspace.store)}
    process = subprocess.Popen(
        [str(ROOT / "hb"), "build", "//:s0", "//:s1", "--jobs", "2"], cwd=workspace.root, env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until(lambda: sleepers() == 8)
    pid = hb_process(process.pid)
    os.kill(pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 8, err
    assert sleepers() == 0
    assert left_over(workspace, pid) == before


def test_a_second_ctrl_c_leaves_no_process_and_the_next_build_sweeps_up(workspace) -> None:
    script = "mkdir -p out; trap '' INT TERM; for i in 1 2 3; do sleep 986 & done; wait"
    workspace.build_file(
        f'command(name="s", rootfs=":rootfs", cmd={script!r})\n'
        'command(name="ok", rootfs=":rootfs", cmd="mkdir -p out; echo ok > out/ok")\n'
    )
    env = {**os.environ, "HB_STORE": str(workspace.store)}
    process = subprocess.Popen(
        [str(ROOT / "hb"), "build", "//:s"], cwd=workspace.root, env=env, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until(lambda: sleepers("986") == 3)
    pid = hb_process(process.pid)
    for _ in range(2):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.01)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 8, err
    until(lambda: sleepers("986") == 0)
    assert workspace.hb("build", "//:ok").code == 0
    assert left_over(workspace, pid) == {"mounts": 0, "folders": 0, "groups": 0}


def until(true: Callable[[], bool], limit: float = 60.0) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def sleepers(seconds: str = "987") -> int:
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += path.read_bytes().startswith(b"sleep\0" + seconds.encode() + b"\0")
        except OSError:
            pass
    return count


def hb_process(pid: int) -> int:
    """The launcher may have made hb a child of its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    name = Path(f"/proc/{pid}/comm").read_text()
    return pid if "python" in name or "hb" in name or not children else int(children[0])


def left_over(workspace, pid: int) -> dict[str, int]:
    """Of this workspace and of the hb with this process id: others may build on the machine."""
    groups = Groups.find()
    work = workspace.store / "work"
    return {
        "mounts": sum(str(workspace.store) in line for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "folders": len(list(work.iterdir())) if work.exists() else 0,
        "groups": sum(len(list(one.glob(f"hb-{pid}-*"))) for one in (groups.memory, groups.freezer) if one is not None),
    }


def test_two_that_claim_too_little_both_end_well(workspace) -> None:
    """Together they take more than they may have: the younger gives way and runs again, alone."""
    if Groups.find().memory is None:
        pytest.skip("no memory controller may be used here")
    eat = 'x=$(printf "%0120000000d" 1); sleep 2; mkdir -p out; echo ${#x} > out/x'
    workspace.build_file(
        "".join(f'command(name="e{n}", rootfs=":rootfs", cmd={eat + f" # {n}"!r}, memory="10M")\n' for n in range(2))
    )
    done = workspace.hb("build", "//:e0", "//:e1", "--local-memory", "300M", "--jobs", "2", "--json")
    assert done.code == 0, done.err
    assert done.built == 2
    again = workspace.hb("build", "//:e0", "//:e1", "--json")
    assert again.built == 0


def test_a_profile_and_events_are_written(workspace) -> None:
    workspace.build_file('command(name="x", rootfs=":rootfs", cmd="mkdir -p out; echo x > out/x")\n')
    done = workspace.hb("build", "//:x", "--profile", "trace.json", "--events", "events.jsonl")
    assert done.code == 0, done.err
    names = {one["name"] for one in json.loads((workspace.root / "trace.json").read_text())["traceEvents"]}
    assert {"load", "//:x Command", "sets up", "runs", "stores"} <= names
    lines = [json.loads(line) for line in (workspace.root / "events.jsonl").read_text().splitlines()]
    assert [one["event"] for one in lines] == ["planned", "started", "finished", "ended"]
    assert {one["version"] for one in lines} == {1}
    assert (lines[2]["label"], lines[2]["outcome"], lines[3]["outcomes"]) == ("//:x", "built", {"built": 1})
    path = workspace.hb("log", "last", "--critical-path")
    assert path.code == 0 and "100%  //:x Command" in path.out
