"""Secrets in real builds: every byte that a build leaves or says is looked through for their values."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import zstandard

from hermetic.needles import forms

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]
TOKEN = b"tok-9f8e7d6c5b4a/39281706+x"
PASSWORD = b"correct horse battery staple 4711"

TARGETS = """
command(
    name="user", rootfs=":rootfs", secrets=["TOKEN", "PASSWORD"], secret_generation="1",
    cmd="cat /run/secrets/TOKEN; cat /run/secrets/PASSWORD >&2; mkdir -p out && stat -c %s /run/secrets/TOKEN > out/size && head -c 100000 /dev/zero > out/zeros",
)
command(name="after", rootfs=":rootfs", deps=[":user"], cmd="mkdir -p out && cat user/size > out/size && test ! -e /run/secrets")
"""


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    """How the secrets are given: one by a file outside of the workspace, one by the environment."""
    (tmp_path / "token").write_bytes(TOKEN + b"\n")
    return {"HB_SECRET_PASSWORD": PASSWORD.decode()}


def found_in(places: Iterable[Path]) -> list[str]:
    """Where a value is: in a file's bytes (also inside what is compressed), a name, or where a link leads."""
    needles = [form for value in (TOKEN, PASSWORD) for form in forms(value)]
    hits = []
    for top in places:
        assert top.exists(), top
        for path in [top, *top.rglob("*")]:
            texts = [os.fsencode(path)]
            if path.is_symlink():
                texts.append(os.fsencode(path.readlink()))
            elif path.is_file():
                data = path.read_bytes()
                texts += [data, *_unpacked(data)]
            hits += [str(path) for text in texts if any(one in text for one in needles)]
    return hits


def _unpacked(data: bytes) -> Iterator[bytes]:
    """Whatever zstd frames are in it, wherever they begin."""
    start = data.find(zstandard.FRAME_HEADER)
    while start >= 0:
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data[start:])
        start = data.find(zstandard.FRAME_HEADER, start + 1)


def downloaded(s3, url: str, folder: Path) -> int:
    """Everything below ``url`` as files. Returns how many."""
    client, bucket, prefix = s3.client(), *url.removeprefix("s3://").partition("?")[0].split("/")
    names = [one["Key"] for one in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
    folder.mkdir()
    for number, name in enumerate(names):
        body = client.get_object(Bucket=bucket, Key=name)["Body"].read()
        (folder / f"{number}-{name.rpartition('/')[2]}").write_bytes(body)
    return len(names)


def clean(*texts: str) -> None:
    needles = [form for value in (TOKEN, PASSWORD) for form in forms(value)]
    for text in texts:
        assert not [one for one in needles if one in text.encode()], text


def test_no_byte_of_a_build_holds_a_value(workspace, given, tmp_path: Path, s3) -> None:
    workspace.build_file(TARGETS)
    events, profile, page = tmp_path / "events", tmp_path / "profile", tmp_path / "page"
    url = s3.url()
    words = ["--secret", f"TOKEN=file:{tmp_path}/token", "--remote-cache", url]
    env = {**given, "XDG_CONFIG_HOME": str(tmp_path / "home")}
    plan = workspace.hb("build", "//:after", "--dry-run", *words[:2], env=given)
    assert "secrets: PASSWORD, TOKEN\n" in plan.err
    built = workspace.hb(
        "build", "//:after", "--json", "--events", str(events), "--profile", str(profile), "--summary", str(page), *words,
        env=env,
    )  # fmt: skip
    assert built.code == 0, built.err
    assert built.built == 2
    assert (workspace.root / "hb-out/after/size").read_text() == f"{len(TOKEN) + 1}\n"
    log = workspace.hb("log", "last", "--action", "//:user", env=env)
    assert "[secret TOKEN]" in log.out and "[secret PASSWORD]" in log.out, log.out
    why = workspace.hb("why", "//:user", env=env)
    said = [plan, built, log, why]
    clean(*(one.out + one.err for one in said))
    places = [
        workspace.store,
        workspace.root / ".hb",
        workspace.root / "hb-out",
        events,
        profile,
        page,
        tmp_path / "home",
    ]
    assert found_in(places) == []
    bucket = tmp_path / "bucket"
    assert downloaded(s3, url, bucket) > 2, "results and blobs were uploaded"
    assert found_in([bucket]) == []


RULES = """
from rules.basic import genrule
from rules.fetch import http_archive, http_file
from toolchains.rules import cc_root

platform(name="linux-amd64", os="linux", arch="amd64")
platform(name="linux-arm64", os="linux", arch="arm64")
register_toolchains("//:cc_amd64", "//:cc_arm64")
cc_root(name="cc", build="x86_64-linux-gnu", host="x86_64-linux-gnu", rootfs=":rootfs")
toolchain(name="cc_amd64", kind="cc", exec="linux-amd64", target="linux-amd64", impl=":cc")
toolchain(name="cc_arm64", kind="cc", exec="linux-arm64", target="linux-arm64", impl=":cc")
http_file(name="weights", urls=["URL/weights"], sha256="SHA", auth_secret="TOKEN")
http_archive(name="source", urls=["URL/source.tar"], sha256="TAR", auth_secret="PASSWORD", auth_user="me")
genrule(
    name="licence", srcs=[":weights"], tools=[":rootfs"], secrets=["TOKEN", "PASSWORD"], secret_generation="2026",
    cmd="cat weights > $OUT/f; ls /run/secrets > $OUT/names; test -r /run/secrets/TOKEN",
)
"""


def test_rules_that_take_secrets(workspace, given, tmp_path: Path) -> None:
    """Fetches from a server that wants a login, and a genrule, from a BUILD file to hb-out."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    files = {"/weights": b"the weights", "/source.tar": packed.getvalue()}
    logins = {
        "/weights": f"Bearer {TOKEN.decode()}",
        "/source.tar": "Basic " + base64.b64encode(b"me:" + PASSWORD).decode(),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == logins.get(self.path)
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(files[self.path] if known else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        text = RULES.replace("URL", f"http://127.0.0.1:{server.server_port}")
        for word, path in (("SHA", "/weights"), ("TAR", "/source.tar")):
            text = text.replace(word, hashlib.sha256(files[path]).hexdigest())
        workspace.build_file(text)
        token = ["--secret", f"TOKEN=file:{tmp_path}/token"]
        missing = workspace.hb("build", "//:weights", env=given)
        assert missing.code == 1
        assert "the secret TOKEN is not given (in //:weights)" in missing.err and "BUILD.py:" in missing.err
        done = workspace.hb("build", "//:licence", "//:source", *token, env=given)
        server.shutdown()
    assert done.code == 0, done.err
    out = workspace.root / "hb-out"
    assert (out / "licence/f").read_text() == "the weights"
    assert (out / "licence/names").read_text() == "PASSWORD\nTOKEN\n"
    assert (out / "source/a.txt").read_text() == "hello"
    asked = workspace.hb("query", "--actions", "//:licence", "--output", "json")
    assert '"secret_generation": "2026"' in asked.out, asked.out + asked.err
    clean(done.out, done.err, asked.out)
    assert found_in([workspace.store, workspace.root / ".hb"]) == []


def test_a_leak_fails_with_its_place_and_is_nowhere(workspace, given, tmp_path: Path) -> None:
    """Also where a forge shows failures: its annotations and pages."""
    workspace.build_file(
        TARGETS
        + """
command(name="leak", rootfs=":rootfs", secrets=["TOKEN"], secret_generation="1", cmd="mkdir -p out/deep; cp /run/secrets/TOKEN out/deep/f")
command(name="says", rootfs=":rootfs", secrets=["PASSWORD"], secret_generation="1", cmd="cat /run/secrets/PASSWORD; exit 3")
"""
    )
    page = tmp_path / "page"
    page.touch()
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page), "GITHUB_WORKSPACE": str(workspace.root)}
    token = ["--secret", f"TOKEN=file:{tmp_path}/token"]
    done = workspace.hb("build", "//:leak", "//:says", "-k", *token, env={**given, **github})
    assert done.code == 1
    assert "the secret TOKEN is in build/out/deep/f (in //:leak)" in done.err
    assert "[secret PASSWORD]" in done.err and "[secret PASSWORD]" in page.read_text()
    assert done.err.count("::error file=BUILD.py") == 2
    clean(done.out, done.err, page.read_text())
    assert found_in([workspace.store, workspace.root / ".hb", page]) == []


def test_a_missing_secret_is_named_with_its_line_and_a_hit_needs_none(workspace, given, tmp_path: Path) -> None:
    workspace.build_file(TARGETS)
    line = (workspace.root / "BUILD.py").read_text().splitlines().index("command(") + 1
    token = ["--secret", f"TOKEN=file:{tmp_path}/token"]
    missing = workspace.hb("build", "//:after", env=given)
    assert missing.code == 1
    assert f"BUILD.py:{line}: the secret TOKEN is not given (in //:user)" in missing.err
    assert "--secret TOKEN=env:VARIABLE or --secret TOKEN=file:PATH, or set HB_SECRET_TOKEN" in missing.err
    plan = workspace.hb("build", "//:after", "-n", "--json", env=given)
    assert json.loads(plan.out.splitlines()[0])["plan"]["secrets"] == ["PASSWORD", "TOKEN"]
    assert json.loads(plan.out.splitlines()[0])["plan"]["secrets_not_given"] == ["TOKEN"]
    assert workspace.hb("build", "//:after", *token, env=given).code == 0
    (tmp_path / "token").unlink()
    for words in (token, []):  # the very same command, and another one
        again = workspace.hb("build", "//:after", "--json", *words)
        assert again.code == 0 and again.summary["outcomes"] == {"hit-local": 2}, again.err
    text = (workspace.root / "BUILD.py").read_text()
    workspace.write("BUILD.py", text.replace('secret_generation="1"', 'secret_generation="2"'))
    assert workspace.hb("build", "//:after", env=given).code == 1
    (tmp_path / "token").write_bytes(TOKEN)
    assert workspace.hb("build", "//:after", *token, env=given).code == 0
    why = workspace.hb("why", "//:after")
    assert "secret generation" in why.out and "1 → 2" in why.out, why.out


def test_a_late_secret_is_asked_for_before_anything_runs(workspace) -> None:
    workspace.build_file(
        'command(name="first", rootfs=":rootfs", cmd="mkdir -p out")\n'
        'command(name="late", rootfs=":rootfs", deps=[":first"], cmd="mkdir -p out", secrets=["LATE"], secret_generation="1")'
    )
    line = len((workspace.root / "BUILD.py").read_text().splitlines())
    done = workspace.hb("build", "//:late")
    warning = f"warning: BUILD.py:{line}: //:late Command may run, and the secret LATE is not given"
    assert warning in done.err and "--secret LATE=env:VARIABLE" in done.err
    assert done.err.index(warning) < done.err.index("//:first Command"), done.err
    assert "may run" not in workspace.hb("build", "//:first").err


def test_a_shell_has_secrets_when_it_is_asked_to(workspace, given, tmp_path: Path) -> None:
    workspace.build_file(TARGETS)
    look = ["--", "/bin/bash", "-c", "ls /run/secrets && cat /run/secrets/PASSWORD"]
    without = workspace.hb("shell", "//:user", *look)
    assert without.code != 0
    assert "its secrets come with --secrets only: PASSWORD, TOKEN" in without.err
    token = ["--secret", f"TOKEN=file:{tmp_path}/token"]
    given_to = workspace.hb("shell", "--secrets", *token, "//:user", *look, env=given)
    assert given_to.code == 0, given_to.err
    assert given_to.out == "PASSWORD\nTOKEN\n" + PASSWORD.decode()


def test_a_program_that_hb_runs_has_the_environment_but_for_secrets(workspace, given) -> None:
    """It is built with them, perhaps; they are not for what is built."""
    cmd = "mkdir -p out/bin; printf '#!/bin/sh\\nenv' > out/bin/show; chmod +x out/bin/show"
    workspace.build_file(f'command(name="show", rootfs=":rootfs", cmd="{cmd}")\n')
    done = workspace.hb("run", "//:show", env={**given, "SOMETHING": "else"})
    assert done.code == 0, done.err
    assert "SOMETHING=else" in done.out and "HB_SECRET" not in done.out


def test_info_names_them_and_the_workspace_cannot(workspace, given, tmp_path: Path) -> None:
    info = workspace.hb("info", env=given)
    assert "PASSWORD (by the environment)" in info.out
    clean(info.out, info.err)
    workspace.write("pyproject.toml", '[tool.hb]\n[tool.hb.secrets]\nTOKEN = "file:/root/.ssh/id_ed25519"\n')
    refused = workspace.hb("build", "//:user", env=given)
    assert refused.code == 7 and "[tool.hb] says nothing about secrets" in refused.err


def test_a_rule_without_a_generation_is_an_error_with_its_line(workspace) -> None:
    workspace.build_file('command(name="x", rootfs=":rootfs", secrets=["TOKEN"], cmd="true")\n')
    done = workspace.hb("build", "//:x")
    assert done.code == 7
    line = len((workspace.root / "BUILD.py").read_text().splitlines())
    assert f"BUILD.py:{line}: a command that needs secrets states no secret_generation" in done.err
    assert 'write secret_generation = "1"' in done.err


@pytest.mark.parametrize("moment", ["fetching", "running"])
def test_a_kill_leaves_nothing(workspace, given, tmp_path: Path, moment: str) -> None:
    """While a command has the secrets and has said them, or a worker is asking for a file with one."""
    workspace.build_file(
        """
from rules.fetch import http_file
command(
    name="running", rootfs=":rootfs", secrets=["TOKEN", "PASSWORD"], secret_generation="1",
    cmd="cat /run/secrets/*; echo; cat /run/secrets/* >&2; head -c 200000 /dev/zero; touch out.started; sleep 100",
)
"""
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = f'http_file(name="fetching", urls=["http://127.0.0.1:{port}/f"], sha256="{"0" * 64}", auth_secret="TOKEN")\n'
        workspace.write("BUILD.py", (workspace.root / "BUILD.py").read_text() + text)
        process = subprocess.Popen(
            [str(ROOT / "hb"), "build", f"//:{moment}", "--secret", f"TOKEN=file:{tmp_path}/token"],
            cwd=workspace.root,
            env={**os.environ, **given, "HB_STORE": str(workspace.store)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if moment == "fetching":
                server.settimeout(60)
                peer, _ = server.accept()
                with peer:
                    assert b"Bearer " + TOKEN in peer.recv(65536)
                    os.killpg(process.pid, signal.SIGKILL)
            else:
                wait_for(lambda: list((workspace.store / "work").glob("*/*/build/out.started")))
                os.killpg(process.pid, signal.SIGKILL)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert list((workspace.store / "work").iterdir()), "it was killed in the midst of it"
    assert found_in([workspace.store, workspace.root / ".hb"]) == []


def wait_for(ready: Callable[[], object]) -> None:
    for _ in range(1200):
        if ready():
            return
        time.sleep(0.05)
    raise AssertionError("it never started")
