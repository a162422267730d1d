"""Running to the end: what is reported of a command, however it ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from hermetic.action import Kind, Output
from hermetic.errors import ActionError, SandboxUnavailable, StoreError
from hermetic.sandbox.namespace import NamespaceSandbox, _setup_failure
from hermetic.sandbox.spec import Ending, Mount, SandboxSpec

pytestmark = pytest.mark.sandbox
OUT = (Output("out", "/build/out", Kind.TREE),)


def test_streams_and_code(run) -> None:
    result = run("echo out; echo err >&2; exit 7")
    assert (result.ending, result.exit_code, result.tainted) == (Ending.EXITED, 7, "")
    assert result.stdout.read_text() == "out\n"
    assert result.stderr.read_text().endswith("err\n")


def test_a_writer_left_behind_is_dead_when_run_returns(run) -> None:
    """It closed its output, so only the death of the namespace's first process tells that it is gone."""
    script = """python3 -c '
import os
ready, tell = os.pipe()
if os.fork():
    os.read(ready, 1)
    os._exit(0)
os.setsid()
out = os.open("/build/out/file", os.O_CREAT | os.O_WRONLY)
os.write(tell, b"x")
[os.close(fd) for fd in (0, 1, 2, ready, tell)]
while True:
    os.write(out, b"x")'"""
    for _ in range(10):
        file = run(script, outputs=OUT).outputs["out"] / "file"
        size = file.stat().st_size
        time.sleep(0.02)
        assert file.stat().st_size == size


def test_usage_is_that_of_the_command_and_its_children(run) -> None:
    burn = "import time; memory = bytearray(120 << 20)\nwhile time.process_time() < 0.3: pass"
    result = run(f"python3 -c '{burn}' & python3 -c '{burn}'; wait")
    assert 0.6 <= result.cpu < 5
    assert 120 << 20 <= result.max_rss < 400 << 20


class LateCancel:
    """A cancellation that is seen when the command has just ended by itself."""

    def is_set(self) -> bool:
        time.sleep(0.5)
        return True


def test_a_cancellation_as_the_command_ends(run) -> None:
    assert run("true", cancel=LateCancel()).ending is Ending.CANCELLED


def test_a_time_limit_for_a_command_that_closed_its_output(run) -> None:
    result = run("exec >&- 2>&-; sleep 300", timeout=0.5)
    assert (result.ending, result.exit_code) == (Ending.TIMEOUT, 137)


def test_the_caller_s_umask_is_not_seen(run) -> None:
    old = os.umask(0o077)
    try:
        result = run("umask; ulimit -c")
    finally:
        os.umask(old)
    assert result.stdout.read_text() == "0022\n0\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"argv": ("/bin/nosuch",)}, "cannot be started: /bin/nosuch"),
        ({"argv": ("/etc/passwd",)}, "cannot be started: /etc/passwd"),
        ({"cwd": "/nowhere"}, "working directory is not in the sandbox: /nowhere"),
    ],
)
def test_a_command_that_cannot_start_is_the_user_s_error(run, options, words: str) -> None:
    with pytest.raises(ActionError, match=words) as caught:
        run("true", **options)
    assert caught.value.hint


def test_a_command_may_say_what_bubblewrap_says(run) -> None:
    result = run("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", env=(("LC_ALL", "C"),))
    assert (result.ending, result.exit_code) == (Ending.EXITED, 1)


def test_a_machine_without_namespaces_is_explained() -> None:
    error = _setup_failure("No permissions to create new namespace")
    assert isinstance(error, SandboxUnavailable)
    assert error.hint


def test_a_log_that_cannot_be_written_ends_the_command(tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "stdout").symlink_to("/dev/full")
    spec = SandboxSpec(argv=("/bin/bash", "-c", "yes"), roots=(rootfs,), timeout=600)
    with pytest.raises(StoreError, match="No space left") as caught:
        NamespaceSandbox().run(spec, tmp_path, threading.Event())
    assert caught.value.hint


def test_writable_inputs_are_copies(run, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").write_text("input")
    script = "cd /build/src; echo more >> file; rm -f file; echo new > other; ls"
    result = run(script, mounts=(Mount(given, "/build/src", writable=True),))
    assert result.stdout.read_text() == "other\n", result.stderr.read_text()
    assert [path.name for path in given.iterdir()] == ["file"]
    assert (given / "file").read_text() == "input"


def test_single_files_are_mounted(run, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    mounts = (Mount(tmp_path / "one", "/etc/deep/one"), Mount(tmp_path / "one", "/build/in/one"))
    result = run("cat /etc/deep/one /build/in/one; ! (echo > /etc/deep/one) 2> /dev/null", mounts=mounts)
    assert (result.stdout.read_text(), result.exit_code) == ("11", 0)


def test_several_at_once(run) -> None:
    found: dict[int, str] = {}

    def one(number: int) -> None:
        result = run(f"sleep 0.$((RANDOM % 3)); echo {number}; exit {number}")
        found[number] = f"{result.stdout.read_text().strip()} {result.exit_code}"

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number} {number}" for number in range(12)}


def test_no_descriptor_is_left_open(run) -> None:
    run("true")
    before = len(os.listdir("/proc/self/fd"))
    for script in ("true", "exit 3", "sleep 300"):
        run(script, timeout=0.3)
    with pytest.raises(ActionError):
        run("true", argv=("/bin/nosuch",))
    assert len(os.listdir("/proc/self/fd")) == before
