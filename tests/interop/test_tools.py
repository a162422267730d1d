"""What other people's tools say of our images: skopeo copies, umoci unpacks, podman runs, docker loads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermetic.action import Kind
from hermetic.oci.archive import docker_archive
from hermetic.oci.image import image
from hermetic.oci.layer import layer
from hermetic.oci.layout import manifest_digest, read_layout, write_layout
from hermetic.oci.validate import validate_layout
from hermetic.store.disk import DiskStore
from hermetic.store.ingest import ingest_tree
from hermetic.store.operation import Resolved, Workbench

pytestmark = pytest.mark.sandbox
PODMAN = ("--cgroup-manager=cgroupfs", "--runtime", "/usr/sbin/runc")


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def run(*argv: str, **env: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **env})
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def make(tmp_path: Path, rootfs: Path):
    """An image of the small root filesystem and one file, in an OCI layout."""

    def build(compression: str) -> Path:
        store = DiskStore(tmp_path / "store")
        bench = Workbench(store, tmp_path / "derived")
        extra = tmp_path / "extra"
        (extra / "opt").mkdir(parents=True, exist_ok=True)
        (extra / "opt" / "hello").write_text("hello\n")
        inputs: dict[str, Resolved] = {}
        for number, folder in enumerate((rootfs, extra)):
            tree = Resolved(Kind.TREE, ingest_tree(folder, store))
            made = layer({"compression": compression, "created_by": f"hb //x:{number}"}, {"/tree": tree}, bench)
            inputs[f"/layers/{number}/tree"] = tree
            inputs[f"/layers/{number}/recipe"] = made["recipe"]
            inputs[f"/layers/{number}/descriptor"] = made["descriptor"]
        config = {
            "env": ["PATH=/usr/bin", "GREETING=hi"],
            "user": "0",
            "cmd": ["/bin/cat", "/opt/hello"],
            "workdir": "/",
        }
        params = {"config": config, "annotations": {"org.opencontainers.image.title": "x"}, "arch": "amd64"}
        root = image(params, inputs, bench)["image"].digest
        layout = tmp_path / f"layout-{compression}"
        write_layout(store, root, layout, bench.derived)
        assert (
            json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
            == manifest_digest(root, store.read).oci
        )
        return layout

    return build


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_our_own_validator_accepts(make, compression: str) -> None:
    assert validate_layout(make(compression)) == []


@needs("skopeo")
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_skopeo_inspects_and_copies(make, tmp_path: Path, compression: str) -> None:
    layout = make(compression)
    found = json.loads(run("skopeo", "inspect", f"oci:{layout}"))
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert found["Digest"] == digest
    assert found["Os"] == "linux"
    run("skopeo", "copy", "--preserve-digests", f"oci:{layout}", f"oci:{tmp_path}/copy:x")
    copied = json.loads((tmp_path / "copy" / "index.json").read_text())["manifests"][0]["digest"]
    assert copied == digest


@needs("umoci")
def test_umoci_unpacks(make, tmp_path: Path) -> None:
    layout = make("gzip")
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    named = tmp_path / "named"
    shutil.copytree(layout, named)
    (named / "index.json").write_text(json.dumps(index))
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    run("umoci", "unpack", *rootless, "--image", f"{named}:x", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle/rootfs/opt/hello").read_text() == "hello\n"


@needs("podman")
def test_podman_runs(make, tmp_path: Path) -> None:
    layout = make("zstd")
    short = Path("/tmp") / f"hb-podman-{os.getpid()}"  # podman refuses long paths
    storage = [f"--root={tmp_path}/podman", f"--runroot={short}/run", f"--tmpdir={short}/tmp"]
    podman = ["podman", *storage, *PODMAN]
    shutil.copytree(layout, short / "layout")  # it reads a layout's path as a name: lower case only
    try:
        image_id = run(*podman, "pull", "--quiet", f"oci:{short}/layout").strip()
        limits = ["--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=10000:10000"]
        assert run(*podman, "run", "--rm", *limits, image_id) == "hello\n"
    finally:
        subprocess.run([*podman, "system", "reset", "--force"], check=False, capture_output=True)
        shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[list[str]]:
    """A Docker engine of our own, ended by its pid."""
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        pytest.skip("dockerd is not installed, or this is not root")
    base = Path("/tmp") / f"hb-docker-{os.getpid()}"  # a socket's path must be short
    base.mkdir()
    argv = ["dockerd", "-H", f"unix://{base}/d.sock", "--data-root", f"{base}/data", "--exec-root", f"{base}/exec"]
    argv += ["--pidfile", f"{base}/pid", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none"]
    with (base / "log").open("wb") as log:
        daemon = subprocess.Popen(argv, stdout=log, stderr=log)
    client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
    command = [client, "-H", f"unix://{base}/d.sock"]
    try:
        for _ in range(150):
            if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
                break
            if daemon.poll() is not None:
                pytest.skip(f"dockerd does not start here: {(base / 'log').read_text()[-300:]}")
            time.sleep(0.2)
        yield command
    finally:
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree(base, ignore_errors=True)


def test_docker_loads_and_runs(make, tmp_path: Path, docker: list[str]) -> None:
    archive = tmp_path / "image.tar"
    docker_archive(make("zstd"), archive, "hb-test:1")
    assert "hb-test:1" in run(*docker, "load", "-i", str(archive))
    assert run(*docker, "run", "--rm", "--network=none", "hb-test:1") == "hello\n"


def test_layouts_are_written_once(make) -> None:
    layout = make("zstd")
    before = {path: path.stat().st_mtime_ns for path in layout.rglob("*")}
    make("zstd")
    assert {path: path.stat().st_mtime_ns for path in layout.rglob("*")} == before
    assert read_layout(layout)["config"]["rootfs"]["type"] == "layers"
