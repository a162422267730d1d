"""Rules that bring sources in, as targets of a workspace, from servers this test starts: they fetch, build, and
what they made is run and looked at."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_servers import folder_served, git_served

from hermetic.oci.validate import validate_layout

pytestmark = pytest.mark.sandbox
HB = Path(__file__).parents[2] / "hb"

HEAD = """
from rules.basic import configured, genrule, patch, tree
from rules.fetch import git_source, http_archive, http_file, oci_base
from rules.image import image, image_index, layer
from rules.test import image_check, image_test
from toolchains.rules import cc_root

setting(name="arch", values=["amd64", "arm64"], default="amd64")
setting(name="commit", default="")
platform(name="linux-amd64", os="linux", arch="amd64", settings={"arch": "amd64"})
platform(name="linux-arm64", os="linux", arch="arm64", settings={"arch": "arm64"})
register_toolchains("//:cc_amd64")
cc_root(name="cc", build="x86_64-linux-gnu", host="x86_64-linux-gnu", rootfs=":rootfs")
toolchain(name="cc_amd64", kind="cc", exec="linux-amd64", target="linux-amd64", impl=":cc")
"""


@pytest.fixture
def shelf(workspace) -> Any:
    """A workspace whose C toolchain is the small root filesystem with patch(1)."""
    program = shutil.which("patch", path="/usr/bin:/bin")
    if program is None:
        pytest.skip("patch is not installed")
    shutil.copy2(program, workspace.root / "rootfs/bin/patch")
    for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines():
        found = next((word for word in line.split() if word.startswith("/")), None)
        if found and not (workspace.root / "rootfs" / found.lstrip("/")).exists():
            (workspace.root / "rootfs" / found.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, workspace.root / "rootfs" / found.lstrip("/"))
    return workspace


@pytest.fixture
def www(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and where it is served."""
    folder = tmp_path / "www"
    folder.mkdir()
    with folder_served(folder) as url:
        yield folder, url


def archive(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"project-1.0/{name.replace('_', '/')}")
            info.size, info.mode = len(text), 0o755 if text.startswith("#!") else 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


PATCH = """--- a/src/greeting
+++ b/src/greeting
@@ -1,2 +1,2 @@
-goodbye
+hello
 world
"""


def test_http_archive_file_and_patch(shelf, www: tuple[Path, str]) -> None:
    folder, url = www
    data = archive(src_greeting="goodbye\nworld\n", run="#!/bin/sh\necho run\n", src_keep_orig="mine\n")
    (folder / "project.tar.gz").write_bytes(data)
    (folder / "notes").write_text("notes\n")
    shelf.write("hello.patch", PATCH)
    shelf.write("more.patch", PATCH.replace("goodbye", "hello").replace("+hello\n", "+hi\n"))
    where = f'urls=["{url}/missing/project.tar.gz", "{url}/project.tar.gz"], sha256="{sha256(data)}"'
    shelf.build_file(
        HEAD
        + f'http_archive(name="plain", {where}, strip_prefix="project-1.0")\n'
        + f'http_archive(name="inline", {where}, strip_prefix="*", patches=["hello.patch"])\n'
        + 'patch(name="twice", src=":plain", patches=["hello.patch", "more.patch"])\n'
        + 'patch(name="wrong", src=":inline", patches=["hello.patch"])\n'
        + f'http_file(name="notes", urls=["{url}/notes"], sha256="{sha256(b"notes" + bytes([10]))}")\n'
        + 'genrule(name="use", srcs=[":notes", ":twice"], cmd="cat notes twice/src/greeting > $OUT/all; ./twice/run >> $OUT/all")\n'
    )
    done = shelf.hb("build", "//:plain", "//:inline", "//:twice", "//:use")
    assert done.code == 0, done.err
    out = shelf.root / "hb-out"
    assert (out / "plain/src/greeting").read_text() == "goodbye\nworld\n"
    assert (out / "inline/src/greeting").read_text() == "hello\nworld\n"
    assert (out / "twice/src/greeting").read_text() == "hi\nworld\n"
    assert (out / "use/all").read_text() == "notes\nhi\nworld\nrun\n"
    assert sorted(path.name for path in (out / "twice/src").iterdir()) == ["greeting", "keep"]
    failed = shelf.hb("build", "//:wrong")
    assert failed.code == 1
    assert "FAILED" in failed.err or "previously applied" in failed.err, failed.err
    (folder / "project.tar.gz").unlink()  # pinned and kept: where it came from does not matter any more
    assert shelf.hb("build", "//:twice", "--json").built == 0


def test_an_archive_that_changed_is_refused(shelf, www: tuple[Path, str]) -> None:
    folder, url = www
    (folder / "x.tar.gz").write_bytes(archive(f="other"))
    pinned = sha256(archive(f="pinned"))
    shelf.build_file(HEAD + f'http_archive(name="x", urls=["{url}/x.tar.gz"], sha256="{pinned}")\n')
    done = shelf.hb("build", "//:x")
    assert done.code == 1
    assert pinned in done.err
    assert f"{url}/x.tar.gz" in done.err


def git(folder: Path, *words: str) -> str:
    author = {"NAME": "a", "EMAIL": "a@example.org", "DATE": "1000000000 +0000"}
    env = {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in author.items()}
    env |= {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    words = ("-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", *words)
    done = subprocess.run(["git", *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(folder: Path, **files: str) -> str:
    """A repository with one commit; its id."""
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / name).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder of repositories and where git serves them."""
    with git_served(tmp_path / "forge") as url:
        yield tmp_path / "forge", url


def test_git_source_at_a_commit_with_submodules_and_patches(shelf, forge: tuple[Path, str]) -> None:
    folder, url = forge
    repository(folder / "part", text="part\n")
    repository(folder / "whole", greeting="goodbye\nworld\n")
    git(folder / "whole", "submodule", "--quiet", "add", f"{url}/part/.git", "part")
    git(folder / "whole", "commit", "--quiet", "-m", "two")
    commit = git(folder / "whole", "rev-parse", "HEAD")
    (folder / "whole/greeting").write_text("later\n")
    git(folder / "whole", "commit", "--quiet", "-am", "three")
    shelf.write("hello.patch", PATCH.replace("src/", ""))
    where = f'urls=["{url}/gone/.git", "{url}/whole/.git"], commit="{commit}"'
    shelf.build_file(
        HEAD
        + f'git_source(name="alone", {where})\n'
        + f'git_source(name="whole", {where}, submodules=True, patches=["hello.patch"])\n'
        + f'git_source(name="never", urls=["{url}/whole/.git"], commit="{"1" * 40}")\n'
    )
    done = shelf.hb("build", "//:alone", "//:whole")
    assert done.code == 0, done.err
    out = shelf.root / "hb-out"
    assert (out / "alone/greeting").read_text() == "goodbye\nworld\n"
    assert not (out / "alone/part/text").exists()
    assert (out / "whole/greeting").read_text() == "hello\nworld\n"
    assert (out / "whole/part/text").read_text() == "part\n"
    assert not list(out.rglob(".git"))
    failed = shelf.hb("build", "//:never")
    assert failed.code == 1
    assert "1" * 40 in failed.err
    assert f"{url}/whole/.git" in failed.err


BASE_IMAGE = """
layer(name="system", files=[":rootfs"], compression="gzip")
tree(name="old", files={"/etc/motd": "old\\n", "/etc/gone": "x"}, dirs=["/srv/empty"])
layer(name="old_layer", files=[":old"], compression="gzip")
image(name="below", layers=[":system", ":old_layer"], env={"PATH": "/bin", "FROM_BASE": "yes"}, cmd=["/bin/bash"], labels={"a": "1"})
"""


@pytest.mark.parametrize("format_", ["v2s2", *(pytest.param(one, marks=pytest.mark.slow) for one in ("oci", "layout"))])
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_an_image_on_a_base_from_a_registry(shelf, registry: str, format_: str, tmp_path: Path) -> None:
    shelf.build_file(HEAD + BASE_IMAGE)
    done = shelf.hb("build", "//:below")
    assert done.code == 0, done.err
    if format_ == "layout":
        ref, digest = str(tmp_path / "kept"), done.out.split("\t")[1]
        shutil.copytree(shelf.root / "hb-out/below", ref)
    else:
        ref, digest = f"{registry}/base", pushed(shelf.root / "hb-out/below", f"{registry}/base:1", format_, tmp_path)
    shelf.build_file(
        HEAD
        + f'oci_base(name="base", refs=["{ref}"], digest="{digest}")\n'
        + 'tree(name="new", files={"/etc/motd": "new\\n"})\n'
        + 'layer(name="top", files=[":new"], remove=["/etc/gone"])\n'
        + 'image(name="image", base=":base", layers=[":top"], env={"MORE": "1"}, labels={"b": "2"})\n'
        + 'image_test(name="works", image=":image", cmd="test \\"$(cat /etc/motd)\\" = new && test -d /srv/empty && test $MORE = 1")\n'
        + 'image_check(name="whole", image=":image", checks=[{"kind": "exists", "path": "/bin/bash"}, {"kind": "needed_resolved"}])\n'
    )
    done = shelf.hb("test", "//...")
    assert done.code == 0, done.err
    assert shelf.hb("build", "//:image").code == 0
    layout = shelf.root / "hb-out/image"
    assert validate_layout(layout) == []
    manifest, config = documents(layout)
    assert len(manifest["layers"]) == 3
    assert [step["created_by"] for step in config["history"]] == ["hb //:system", "hb //:old_layer", "hb //:top"]
    assert config["config"]["Env"] == ["PATH=/bin", "FROM_BASE=yes", "MORE=1"]
    assert config["config"]["Labels"] == {"a": "1", "b": "2"}
    assert config["config"]["Cmd"] == ["/bin/bash"]


def pushed(layout: Path, ref: str, format_: str, tmp_path: Path) -> str:
    """Copy a layout into a registry; the digest the registry has it by."""
    told = tmp_path / "digest"
    words = ["skopeo", "copy", "--dest-tls-verify=false", "--format", format_, "--digestfile", str(told)]
    subprocess.run([*words, f"oci:{layout}", f"docker://{ref}"], check=True, capture_output=True)
    return told.read_text().strip()


def documents(layout: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    def blob(digest: str) -> Any:
        return json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())

    manifest = blob(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
    return manifest, blob(manifest["config"]["digest"])


def test_one_index_for_two_architectures(shelf, tmp_path: Path) -> None:
    shelf.build_file(
        HEAD
        + 'tree(name="notes", files={"/notes": "read me"})\n'
        + 'layer(name="paper", files=[":notes"], compression="gzip")\n'
        + 'image(name="one", layers=[":paper"])\n'
        + 'configured(name="other", actual=":one", settings={"arch": "arm64"})\n'
        + 'image_index(name="both", images=[":one", ":other"], annotations={"org.opencontainers.image.title": "x"})\n'
        + 'image_index(name="same", images=[":one", ":one"])\n'
    )
    done = shelf.hb("build", "//:both")
    assert done.code == 0, done.err
    layout = shelf.root / "hb-out/both"
    assert validate_layout(layout) == []
    top = json.loads((layout / "index.json").read_text())["manifests"][0]
    assert done.out.split("\t")[1] == top["digest"]
    inner = json.loads((layout / "blobs/sha256" / top["digest"].removeprefix("sha256:")).read_text())
    assert inner["annotations"] == {"org.opencontainers.image.title": "x"}
    assert [one["platform"] for one in inner["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    blobs = len(list((layout / "blobs/sha256").iterdir()))
    assert blobs == 1 + 2 + 2 + 1, "the layer is the same for both"
    if shutil.which("skopeo"):
        words = [
            "skopeo",
            "inspect",
            "--override-arch",
            "arm64",
            "--override-variant",
            "v8",
            "--config",
            f"oci:{layout}",
        ]
        found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        assert found["architecture"] == "arm64"
    failed = shelf.hb("build", "//:same")
    assert failed.code == 1
    assert "two images of the index are for amd64" in failed.err
    assert shelf.hb("image", "validate", str(layout)).code == 0
    assert shelf.hb("image", "validate", "//:one").code == 0
    shutil.copytree(layout, tmp_path / "spoilt")
    (tmp_path / "spoilt/blobs/sha256" / top["digest"].removeprefix("sha256:")).write_bytes(b"{}")
    spoilt = shelf.hb("image", "validate", str(tmp_path / "spoilt"))
    assert (spoilt.code, "it has 2" in spoilt.out) == (1, True), spoilt.out


def test_a_vendored_build_with_the_network_unplugged(workspace, www: tuple[Path, str], tmp_path: Path) -> None:
    """hb vendor, then everything from an empty store in a network namespace that has nothing."""
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace may be made here")
    folder, url = www
    with tarfile.open(folder / "data.tar", "w") as archive:
        member = tarfile.TarInfo("data/a")
        member.size = 8
        archive.addfile(member, io.BytesIO(b"fetched\n"))
    pin = hashlib.sha256((folder / "data.tar").read_bytes()).hexdigest()
    workspace.build_file(
        "from rules.fetch import http_archive\n"
        f'http_archive(name="data", urls=["{url}/data.tar"], sha256="{pin}")\n'
        'command(name="a", rootfs=":rootfs", deps=[":data"], cmd="mkdir -p out && cp -r data out/")\n'
    )
    assert workspace.hb("vendor", str(tmp_path / "vendor"), "//:a").code == 0

    def unplugged(*words: str) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(workspace.store, ignore_errors=True)
        shutil.rmtree(workspace.root / ".hb", ignore_errors=True)
        argv = ["unshare", "-n", str(HB), "build", "//:a", *words]
        env = {**os.environ, "HB_STORE": str(workspace.store)}
        return subprocess.run(argv, cwd=workspace.root, env=env, capture_output=True, text=True, check=False)

    without = unplugged()
    assert without.returncode == 1 and "//:data" in without.stderr
    done = unplugged("--vendor", str(tmp_path / "vendor"))
    assert done.returncode == 0, done.stderr
    made = [path.read_text() for path in (workspace.root / "hb-out/a").rglob("*") if path.is_file()]
    assert made == ["fetched\n"]
