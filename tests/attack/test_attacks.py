"""Attacks on the sandbox: each runs for real inside it, and each must fail there.

An attack that would fail everywhere proves nothing, so those that can be tried harmlessly outside are
(``test_controls``).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermetic.action import Kind, Output, Root
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.sandbox.spec import Ending, Mount, SandboxResult, SandboxSpec

pytestmark = pytest.mark.sandbox
ATTACKS = json.loads((Path(__file__).parent / "attacks.json").read_text(encoding="utf-8"))


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Things of the host an attack would like to reach."""
    abstract = f"hb-attack-{os.getpid()}"
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    monkeypatch.setenv("HB_ATTACK_SECRET", "s3cret")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(f"\0{abstract}")
        unix.listen()
        yield {
            "port": str(tcp.getsockname()[1]),
            "abstract": abstract,
            "secret": str(secret),
            "victim": str(victim.pid),
        }
    victim.kill()
    victim.wait()


@pytest.fixture
def run(tmp_path: Path, rootfs: Path):
    """Runs a command in a sandbox with one read-only input and one output."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").write_text("input")
    (given / "file").chmod(0o444)
    count = iter(range(100))

    def execute(*argv: str, **options) -> SandboxResult:
        work = tmp_path / f"work{next(count)}"
        work.mkdir()
        spec = SandboxSpec(
            argv=argv,
            roots=(rootfs,),
            mounts=(Mount(given, "/input"),),
            outputs=(Output("out", "/build/out", Kind.TREE),),
            timeout=options.pop("timeout", 30.0),
            **options,
        )
        return NamespaceSandbox().run(spec, work, threading.Event())

    execute.given = given / "file"  # type: ignore[attr-defined]
    return execute


def fill(text: str, target: dict[str, str]) -> str:
    for name, value in target.items():
        text = text.replace("{" + name + "}", value)
    return text


def argv_of(attack: dict[str, str], target: dict[str, str]) -> tuple[str, ...]:
    if "python" in attack:
        return ("/usr/bin/python3", "-c", fill(attack["python"], target))
    return ("/bin/bash", "-c", fill(attack["shell"], target))


@pytest.mark.parametrize("attack", ATTACKS, ids=[one["name"] for one in ATTACKS])
def test_attack_fails(attack: dict[str, str], target: dict[str, str], run) -> None:
    result = run(*argv_of(attack, target))
    assert result.exit_code != 0, result.stdout.read_text() + result.stderr.read_text()
    assert result.ending is Ending.EXITED
    assert run.given.read_text() == "input"
    assert oct(run.given.stat().st_mode)[-3:] == "444"


@pytest.mark.parametrize("attack", [one for one in ATTACKS if "overlay" not in one], ids=lambda one: one["name"])
def test_attack_fails_where_the_root_may_be_changed(attack: dict[str, str], target: dict[str, str], run) -> None:
    """With user id 0 and what package scripts need."""
    result = run(*argv_of(attack, target), root=Root.OVERLAY, uid=0)
    assert result.exit_code != 0, result.stdout.read_text() + result.stderr.read_text()
    assert run.given.read_text() == "input"
    assert oct(run.given.stat().st_mode)[-3:] == "444"


def test_controls(target: dict[str, str]) -> None:
    """The attacks' code works where there is no sandbox."""
    for name in (
        "tcp to this machine",
        "abstract unix socket of the host",
        "read a file of the host by path",
        "read the environment of the first process",
    ):
        attack = next(one for one in ATTACKS if one["name"] == name)
        argv = argv_of(attack, target)
        argv = (sys.executable, *argv[1:]) if "python" in attack else argv
        assert subprocess.run(argv, check=False, capture_output=True).returncode == 0, name


def test_identity_is_fixed(run) -> None:
    script = "hostname; id -u; id -g; echo $TZ $LC_ALL $HOME $SOURCE_DATE_EPOCH; date +%Z; pwd; umask"
    result = run("/bin/bash", "-c", script)
    assert result.stdout.read_text().splitlines() == [
        "hb", "1000", "1000", "UTC C.UTF-8 /build 1000000000", "UTC", "/build", "0022",
    ]  # fmt: skip


def test_environment_is_what_was_declared(run) -> None:
    result = run("/usr/bin/env", env=(("WANTED", "1"),))
    names = {line.partition("=")[0] for line in result.stdout.read_text().splitlines()}
    assert names == {"WANTED", "HOME", "LC_ALL", "PATH", "SOURCE_DATE_EPOCH", "TMPDIR", "TZ", "PWD"}


def test_nothing_outlives_the_command(run, tmp_path: Path) -> None:
    """A daemon that forked twice, left its session and ignores hangups dies with the sandbox."""
    daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(300)"
    marker = f"hb-marker-{os.getpid()}-{tmp_path.name}"
    result = run("/usr/bin/python3", "-c", daemon, marker)
    assert result.exit_code == 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert marker.encode() not in (entry / "cmdline").read_bytes()
            except OSError:
                continue


def test_time_limit_kills_everything(run) -> None:
    result = run("/bin/bash", "-c", "trap '' TERM HUP INT; sleep 300 & sleep 300", timeout=0.5)
    assert result.ending is Ending.TIMEOUT
    assert result.wall < 20


def test_many_processes_die_at_the_limit(run) -> None:
    """Two hundred processes that ignore signals, not an unbounded bomb: the machine is shared."""
    marker = f"3{os.getpid()}"
    script = f"trap '' TERM HUP INT; for i in $(echo {{1..200}}); do sleep {marker} & done; wait"
    result = run("/bin/bash", "-c", script, timeout=3.0)
    assert result.ending is Ending.TIMEOUT
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert (entry / "cmdline").read_bytes().split(b"\0")[:2] != [b"sleep", marker.encode()]
            except OSError:
                continue


def test_cancelling_kills(tmp_path: Path, rootfs: Path) -> None:
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    work = tmp_path / "work"
    work.mkdir()
    spec = SandboxSpec(argv=("/bin/sleep", "300"), roots=(rootfs,))
    result = NamespaceSandbox().run(spec, work, cancel)
    assert result.ending is Ending.CANCELLED


def test_output_is_limited(run) -> None:
    result = run("/bin/bash", "-c", "yes | head -c 3000000; echo err >&2", log_limit=1000)
    text = result.stdout.read_text()
    assert len(text) < 1200
    assert "2999000 bytes dropped" in text
    assert result.stderr.read_text().endswith("err\n")


def test_signals_are_reported(run) -> None:
    result = run("/bin/bash", "-c", "kill -SEGV $$")
    assert (result.ending, result.exit_code) == (Ending.SIGNALLED, 128 + 11)


def test_a_private_tmp(run) -> None:
    assert run("/bin/bash", "-c", "echo x > /tmp/left").exit_code == 0
    assert run("/bin/cat", "/tmp/left").exit_code != 0


def test_changing_the_root_leaves_it_alone(run, rootfs: Path) -> None:
    script = (
        "rm -rf /etc/hostname /usr/bin/yes && echo new > /etc/new && ln -s x /etc/link && chown alice:staff /etc/new"
    )
    result = run("/bin/bash", "-c", script, root=Root.OVERLAY, uid=0)
    assert result.exit_code == 0, result.stderr.read_text()
    assert (rootfs / "usr/bin/yes").exists()
    assert not (rootfs / "etc/new").exists()
