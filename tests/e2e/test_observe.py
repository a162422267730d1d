"""A build that is watched: its trace, its events, its collector; and that watching changes nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import traces
from collector import Collector, collecting, values
from jsonschema import Draft202012Validator
from terminals import on_a_terminal

pytestmark = pytest.mark.sandbox

BUILD = """
command(name="a", rootfs=":rootfs", cmd="mkdir -p out; sleep 0.2; echo a > out/a")
command(name="b", rootfs=":rootfs", deps=[":a"], cmd="mkdir -p out; cp a/a out/b")
command(name="c", rootfs=":rootfs", cmd="mkdir -p out; echo c > out/c")
"""
SECRET = "hunter2-the-token"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def quiet(**more: str) -> dict[str, str]:
    """None of the variables of whoever runs the tests."""
    return {**{name: "" for name in os.environ if name.startswith("OTEL_") or name == "TRACEPARENT"}, **more}


def told(workspace, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """hb where OpenTelemetry's SDK is: in the environment of the tests. The launcher's has no extras."""
    full = {**os.environ, **quiet(**env), "HB_STORE": str(workspace.store), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-s", "-m", "hermetic.cli.main", *words]
    return subprocess.run(argv, cwd=workspace.root, env=full, capture_output=True, text=True, check=False)


def names(spans: list[dict[str, Any]]) -> set[str]:
    return {one["name"] for one in spans}


def test_a_profile_has_every_part_of_a_build_and_of_one_that_had_nothing_to_do(workspace, tmp_path) -> None:
    workspace.build_file(BUILD)
    file = tmp_path / "trace.json"

    def build(*more: str) -> list[dict[str, Any]]:
        done = workspace.hb("build", "//:b", "//:c", "--profile", str(file), *more, env=quiet())
        assert done.code == 0, done.err
        return traces.read(file)

    cold = build("--json")
    parts = {
        "build", "open", "load", "import", "load package //", "analyse //:b", "decode", "execute", "look //:a Command",
        "key", "hash sources", "local cache", "//:a Command", "sets up", "stage", "runs", "stores", "hash outputs",
        "publish //:b", "write history", "write snapshot",
    }  # fmt: skip
    assert parts <= names(traces.spans(cold))
    critical = [one["name"] for one in traces.spans(cold) if one["args"].get("critical") and one["pid"] == 2]
    assert critical == ["//:a Command", "//:b Command"]
    assert {"hb", "critical path", "loader", "CPU 1"} <= set(traces.lane_names(cold).values())
    assert {one["name"] for one in cold if one["ph"] == "C"} == {"memory", "CPUs"}
    assert {one["args"]["job tokens"] for one in cold if one["name"] == "CPUs"} == {0}

    plain = workspace.hb("build", "//:b", "//:c", "--json", env=quiet())
    assert plain.summary["outcomes"] == {"hit-local": 3}
    null = build("--json")
    assert names(traces.spans(null)) == {"build", "read snapshot", "compare files", "end"}

    workspace.build_file(BUILD.replace("echo c", "echo d"))
    warm = names(traces.spans(build("--json")))
    assert {"read snapshot", "compare files", "recall", "//:c Command"} <= warm
    assert "look //:a Command" not in warm


def test_a_build_that_could_not_be_loaded_is_told_too(workspace, tmp_path) -> None:
    workspace.build_file("nonsense\n")
    done = workspace.hb("build", "//...", "--profile", str(tmp_path / "trace.json"), env=quiet())
    assert done.code == 7
    (build,) = [one for one in traces.spans(traces.read(tmp_path / "trace.json")) if one["name"] == "build"]
    assert build["args"]["error"] == "BuildFileError"


def test_a_profile_that_cannot_be_written_fails_no_build(workspace) -> None:
    workspace.build_file(BUILD)
    done = workspace.hb("build", "//:c", "--profile", "/proc/no/such/place", env=quiet())
    assert done.code == 0
    assert "the profile /proc/no/such/place cannot be written" in done.err


def test_a_collector_learns_what_happened_and_nothing_secret(workspace, tmp_path, collector) -> None:
    command = f'command(name="s", rootfs=":rootfs", cmd="mkdir -p out; echo {SECRET}; exit 3")\n'
    workspace.build_file(BUILD + command)
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRET}",
        "MY_TOKEN": SECRET,
    }
    done = told(workspace, "build", "//:b", "//:s", "-k", **env)
    assert done.returncode == 1
    assert "trace" not in done.stderr
    said = {one.name: values(one.attributes) for one in collector.spans}
    assert said["build"]["hb.verb"] == "build"
    assert said["build"]["hb.patterns"] == ["//:b", "//:s"]
    assert (said["build"]["hb.built"], said["build"]["hb.failed"]) == (2, 1)
    actions = {
        values(one.attributes)["hb.label"]: (values(one.attributes), one.status.code)
        for one in collector.spans
        if one.name == "action"
    }
    assert actions["//:s"][0]["hb.outcome"] == "failed" and actions["//:s"][1] == 2
    assert actions["//:a"][0].keys() >= {"hb.key", "hb.mnemonic", "hb.outcome", "hb.peak_bytes"}
    everything = b"".join(collector.bodies)
    for private in (SECRET, str(tmp_path), str(Path.home()), os.uname().nodename):
        assert private.encode() not in everything, private


def test_a_build_with_nothing_to_do_is_told_too(workspace, collector) -> None:
    workspace.build_file(BUILD)
    assert told(workspace, "build", "//:c").returncode == 0
    done = told(workspace, "build", "//:c", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert done.returncode == 0, done.stderr
    (build,) = [values(one.attributes) for one in collector.spans if one.name == "build"]
    assert build["hb.hit_local"] == build["hb.actions"] == 1


def test_a_collector_that_is_not_there_costs_a_note(workspace) -> None:
    workspace.build_file(BUILD)
    for _ in range(2):
        done = told(workspace, "build", "//:c", "--json", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
        assert (done.returncode, done.stderr.count("the trace was not sent")) == (0, 1), done.stderr
        assert json.loads(done.stdout.splitlines()[0])["digest"]


def test_without_the_extra_a_note_says_how_to_get_it(workspace) -> None:
    workspace.build_file(BUILD)
    done = workspace.hb("build", "//:c", env=quiet(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"))
    assert done.code == 0
    assert "OpenTelemetry is not installed" in done.err
    assert "requirements-otel.txt" in done.err


def test_the_sdk_is_imported_for_a_collector_only(workspace) -> None:
    workspace.build_file(BUILD)
    env = quiet(PYTHONPROFILEIMPORTTIME="1")
    for _ in range(2):
        done = workspace.hb("build", "//:c", env=env)
        assert done.code == 0
        assert "hermetic.spans" in done.err
        assert not {"opentelemetry", "hermetic.report.otel", "hermetic.report.trace"} & set(done.err.split())


def test_events_are_those_of_the_build(workspace, tmp_path) -> None:
    workspace.build_file(BUILD)
    file = tmp_path / "events"

    schema = Draft202012Validator(json.loads((ROOT / "docs/reference/events.schema.json").read_text()))

    def events(code: int = 0, target: str = "//:b") -> list[dict[str, Any]]:
        assert workspace.hb("build", target, "--events", str(file), env=quiet()).code == code
        found = [json.loads(line) for line in file.read_text().splitlines()]
        for one in found:
            schema.validate(one)
        return found

    assert [one["event"] for one in events()] == ["planned", *["started", "finished"] * 2, "ended"]
    null = events()
    assert [one["event"] for one in null] == ["planned", "ended"]
    assert null[-1]["outcomes"] == {"hit-local": 2}
    workspace.build_file('command(name="f", rootfs=":rootfs", cmd="exit 3")\n')
    failed = events(1, "//:f")
    assert failed[-2]["outcome"] == "failed" and "exit 3" in failed[-2]["error"]


def test_a_real_build_on_a_real_terminal(workspace) -> None:
    slow = 'command(name="slow", rootfs=":rootfs", cmd="mkdir -p out; sleep 1.5; echo s > out/s")\n'
    workspace.build_file(slow)
    drop = ("OTEL_", "COLUMNS", "LINES", "CI", "NO_COLOR")
    env = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    env |= {"HB_STORE": str(workspace.store), "TERM": "xterm"}
    with on_a_terminal([str(ROOT / "hb"), "build", "//:slow"], 60, 20, env, workspace.root) as person:
        lines = person.until(lambda lines: len(lines) == 2 and "runs" in lines[1])
        assert lines[0].startswith("[0/1] 1 running, 0 cached, 0 waiting")
        assert re.fullmatch(r"  +\d\.\d s of \d+ +//:slow Command  runs(  \d+ MiB)?", lines[1])
        lines = person.ended()
    assert re.fullmatch(r"built +\d\.\d s  //:slow Command", lines[0])
    assert re.fullmatch(r"done: built 1 · \d\.\d s", lines[1])
    assert len(lines) == 2


def test_requests_to_a_remote_cache_are_told_with_their_bytes(workspace, tmp_path, http_cache) -> None:
    workspace.build_file(BUILD.replace("echo c", f"echo {uuid.uuid4().hex} > out/id; head -c 400000 /dev/urandom"))
    url, file = f"{http_cache.url}/{uuid.uuid4().hex}", tmp_path / "trace.json"

    def build(store: str) -> dict[str, dict[str, Any]]:
        words = ("--store", str(tmp_path / store), "--remote-cache", url, "--profile", str(file))
        done = workspace.hb("build", "//:c", *words, env=quiet(XDG_CONFIG_HOME=str(tmp_path / "home")))
        assert done.code == 0, done.err
        return {one["name"]: one for one in traces.spans(traces.read(file))}

    first, second = build("one"), build("two")
    assert first["get result"]["args"]["result"] == first["remote cache"]["args"]["result"] == "miss"
    assert first["put result"]["args"]["result"] == "stored"
    assert first["put blob"]["args"]["bytes"] >= 400_000
    assert "wait for uploads" in first
    assert second["get result"]["args"]["result"] == "hit" and second["get result"]["args"]["bytes"] > 100
    assert second["get blob"]["args"]["result"] == "there"
    assert second["get blob"]["args"]["bytes"] == first["put blob"]["args"]["bytes"]
    assert second["look //:c Command"]["args"]["outcome"] == "hit-remote"
