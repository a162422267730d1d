"""What machines and people do to a build: other users, closed streams, kills, full disks, two at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox
HB = Path(__file__).parents[2] / "hb"
ONE = 'command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="cat a.txt > out/a")\n'


@pytest.fixture
def one(workspace):
    workspace.write("a.txt", "one\n")
    workspace.build_file(ONE)
    return workspace


def shell(workspace, script: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HB_STORE": str(workspace.store), "HB": str(HB)}
    return subprocess.run(
        ["bash", "-c", script], cwd=workspace.root, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("closing", ["2>&-", ">&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams(one, closing: str) -> None:
    done = shell(one, f'"$HB" build //:a {closing}')
    assert done.returncode == 0, done.stderr
    assert (one.root / "hb-out/a/a").read_text() == "one\n"


@pytest.mark.parametrize("side", ["2>&1 >/dev/null | true", "| true"])
def test_a_reader_that_went_away(one, side: str) -> None:
    done = shell(one, f'"$HB" build //:a {side}; exit ${{PIPESTATUS[0]}}')
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (one.root / "hb-out/a/a").exists()


def test_the_launcher_works_through_links_and_from_anywhere(one, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/real").symlink_to(HB)
    (tmp_path / "bin/hb").symlink_to("real")
    done = shell(one, f"PATH={tmp_path}/bin:$PATH; mkdir -p deep/er; cd deep/er && hb build //:a")
    assert done.returncode == 0, done.stderr


def test_another_user_with_a_read_only_workspace_and_the_same_store(one, another_user) -> None:
    first = one.hb("build", "//:a")
    assert first.code == 0, first.err
    subprocess.run(["rm", "-rf", str(one.root / "hb-out"), str(one.root / ".hb")], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(one.root)], check=True)
    subprocess.run(["chown", "-R", "65534:65534", str(one.store)], check=True)
    second = another_user(one, "build", "//:a")
    assert second.returncode == 0, second.stderr
    assert "hit-local" in second.stderr
    assert "built" not in second.stderr
    assert second.stdout.split("\t")[1] == first.out.split("\t")[1]
    assert Path(second.stdout.strip().split("\t")[2], "a").read_text() == "one\n"


def test_two_builds_at_once_in_one_workspace(one) -> None:
    one.build_file(ONE + 'command(name="s", rootfs=":rootfs", cmd="sleep 2; echo > out/s")\n')
    env = {**os.environ, "HB_STORE": str(one.store)}
    both = [
        subprocess.Popen([str(HB), "build", label], cwd=one.root, env=env, stdout=subprocess.DEVNULL)
        for label in ("//:s", "//...")
    ]
    assert [process.wait(120) for process in both] == [0, 0]


def test_what_a_killed_build_left_is_cleared_away(one) -> None:
    one.build_file('command(name="slow", rootfs=":rootfs", cmd="echo begun; sleep 1000")\n')
    env = {**os.environ, "HB_STORE": str(one.store)}
    process = subprocess.Popen([str(HB), "build", "//:slow"], cwd=one.root, env=env, stderr=subprocess.DEVNULL)
    work = one.store / "work"
    deadline = time.monotonic() + 60
    while not list(work.glob("run-*/*/stdout")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert list(work.iterdir())
    one.build_file(ONE)
    assert one.hb("build", "//:a").code == 0
    assert not list(work.iterdir())


def test_a_lost_result_is_made_again(one) -> None:
    one.build_file(ONE.replace("cat a.txt", "cat a.txt a.txt"))
    first = one.hb("build", "//:a", "--json")
    shutil.rmtree(one.store / "stage")
    for path in (one.store / "cas").rglob("*"):
        if path.is_file() and path.read_bytes() == b"one\none\n":
            path.chmod(0o644)
            path.write_bytes(b"")
    again = one.hb("build", "//:a", "--json")
    assert again.code == 0, again.err
    assert again.target("//:a")["digest"] == first.target("//:a")["digest"]
    assert (one.root / "hb-out/a/a").read_text() == "one\none\n"
    assert again.target("//:a")["outcome"] == "evicted"


def test_a_package_and_a_target_of_one_name(one) -> None:
    one.write(
        "a/BUILD.py",
        'from toolchains.shell import command\ncommand(name="b", rootfs="//:rootfs", cmd="echo b > out/b")\n',
    )
    one.build_file("")
    top = (
        (one.root / "BUILD.py")
        .read_text()
        .replace("local_source(", 'package(default_visibility=["//visibility:public"])\nlocal_source(', 1)
    )
    one.write("BUILD.py", top + ONE)
    done = one.hb("build", "//:a", "//a:b")
    assert done.code == 0, done.err
    paths = [Path(line.split("\t")[2]) for line in done.out.splitlines()]
    assert [sorted(one.name for one in path.iterdir()) for path in paths] == [["a"], ["b"]]


@pytest.mark.slow
def test_a_very_deep_output(one) -> None:
    script = (
        "cd out; p=$(printf 'd/%.0s' {1..500}); for i in {1..10}; do mkdir -p $p && cd ./$p || exit 1; done; echo x > f"
    )
    one.build_file(f'command(name="x", rootfs=":rootfs", cmd={script!r})\n')
    done = one.hb("build", "//:x")
    assert done.code == 1, done.err
    assert "paths longer than this system allows" in done.err  # a tree like any other, but not to be shown
    assert not list((one.store / "work").iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_said_and_nothing_is_lost(one, tmp_path: Path) -> None:
    one.build_file(ONE + 'command(name="big", rootfs=":rootfs", cmd="head -c 60000000 /dev/zero > out/big")\n')
    script = (
        f"mkdir -p {tmp_path}/small && mount -t tmpfs -o size=48m none {tmp_path}/small && "
        f'export HB_STORE={tmp_path}/small/store; "$HB" build //:a && "$HB" build //:big; code=$?; '
        'ls "$HB_STORE/work"; "$HB" build //:a >&2 || exit 99; exit $code'
    )
    env = {**os.environ, "HB": str(HB)}
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script], cwd=one.root, env=env, capture_output=True, text=True, check=False
    )
    if "mount:" in done.stderr:
        pytest.skip("may not mount here")
    assert done.returncode == 1, done.stderr
    assert re.search("disk (is|was) full|No space left on device", done.stderr), done.stderr
    assert "internal error" not in done.stderr
