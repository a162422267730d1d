"""BUILD code's process: no network, no environment, no home, nothing to write, no way to the parent."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from hermetic.errors import BuildFileError
from hermetic.sandbox.loaderbox import run_boxed_python

pytestmark = pytest.mark.sandbox


@pytest.fixture
def boxed(tmp_path: Path):
    """Runs Python code in the box; what it stores in ``answer`` comes back."""
    (tmp_path / "ro").mkdir()
    (tmp_path / "rw").mkdir()

    def execute(code: str, deadline: float = 60.0):
        (tmp_path / "ro" / "probe.py").write_text(f"{code}\nimport json; print(json.dumps(answer))")
        read, write = tmp_path / "ro", tmp_path / "rw"
        done = run_boxed_python("probe", b"request", read=[read], write=[write], python_path=[read], deadline=deadline)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return execute


def test_the_request_arrives(boxed) -> None:
    assert boxed("import sys; answer = sys.stdin.read()") == "request"


def test_no_variable_of_the_caller(boxed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its own, and not in that of the processes above it either."""
    monkeypatch.setenv("HB_REMOTE_CACHE_KEY", "s3cret-value")
    everything = boxed(
        "import glob, os\nanswer = str(os.environ) + ''.join(open(p).read() for p in glob.glob('/proc/[0-9]*/environ'))"
    )
    assert "PYTHONPATH" in everything
    assert "s3cret-value" not in everything


def test_no_network(boxed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
import socket
try:
    socket.create_connection(("127.0.0.1", {port}), 2); answer = "connected"
except OSError as error:
    answer = type(error).__name__
"""
        assert boxed(code) == "ConnectionRefusedError"
        socket.create_connection(("127.0.0.1", port), 2).close()  # it does answer out here


def test_no_abstract_socket(boxed) -> None:
    name = f"\0hb-loaderbox-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        code = f"""
import socket
try:
    socket.socket(socket.AF_UNIX).connect({name!r}); answer = "connected"
except OSError as error:
    answer = type(error).__name__
"""
        assert boxed(code) == "ConnectionRefusedError"


def test_no_home_and_no_configuration(boxed, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    places = ["/etc/passwd", "/etc/shadow", "/var", "/run", "/sys", str(tmp_path / "secret")]
    home = Path.home()
    assert boxed(f"import os; answer = [p for p in {places!r} if os.path.exists(p)]") == []
    listed = boxed(f"import os; answer = os.listdir({str(home)!r}) if os.path.isdir({str(home)!r}) else []")
    assert set(listed) <= {".pyenv", ".cache", ".local"}  # on the way to the interpreter, and no more


def test_writing_only_where_allowed(boxed, tmp_path: Path) -> None:
    private = Path(f"/tmp/hb-loaderbox-{os.getpid()}")
    places = [str(tmp_path / "ro/x"), "/usr/x", "/x", "/proc/sys/kernel/panic", str(tmp_path / "rw/x"), str(private)]
    code = f"""
answer = []
for place in {places!r}:
    try:
        open(place, "w").write("0")
        answer.append(place)
    except OSError:
        pass
"""
    assert boxed(code) == places[-2:]
    assert (tmp_path / "rw/x").exists()
    assert not private.exists()


def test_no_other_process_is_seen_or_signalled(boxed) -> None:
    assert boxed("import os; answer = len([p for p in os.listdir('/proc') if p.isdigit()])") <= 2
    code = f"""
import os
try:
    os.kill({os.getpid()}, 0); answer = "there"
except ProcessLookupError:
    answer = "not there"
"""
    assert boxed(code) == "not there"


def test_no_namespace_of_its_own(boxed) -> None:
    assert boxed("import ctypes; answer = ctypes.CDLL(None).unshare(0x10000000)") == -1


def test_the_deadline(boxed) -> None:
    with pytest.raises(BuildFileError, match="took longer than 1 s"):
        boxed("while True: pass", deadline=1.0)


def test_a_prefix_that_is_a_link(tmp_path: Path) -> None:
    """A workspace, or an interpreter, may be reached through a link with a shorter name."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "probe.py").write_text("print('here')")
    (tmp_path / "link").symlink_to("real")
    link = tmp_path / "link"
    done = run_boxed_python("probe", b"", read=[link], write=[], python_path=[link], deadline=60)
    assert done.stdout == b"here\n", done.stderr.decode()
