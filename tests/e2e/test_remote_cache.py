"""Machines that share a remote cache: what one built, another never builds again."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import uuid
from pathlib import Path

import pytest
import zstandard
from cache_servers import new_url
from fault_proxy import fault_proxy

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=[pytest.param("s3", marks=pytest.mark.slow), "http", "grpc"])
def url(request: pytest.FixtureRequest) -> str:
    return new_url(request, request.param)


def trust(machine, **policies: list[str]) -> None:
    lines = "\n".join(f"{name} = {keys!r}" for name, keys in policies.items())
    machine.workspace.write("pyproject.toml", f"[tool.hb]\n[tool.hb.trust]\n{lines}\n")


def keygen(machine, path: Path) -> str:
    done = machine.workspace.hb("cache", "keygen", "--output", str(path))
    assert done.code == 0, done.err
    return done.out.strip()


def test_a_second_machine_builds_nothing(machines, url: str) -> None:
    first, second = machines(url), machines(url)
    cold = first.build()
    assert cold.built == 3
    shared = second.build()
    assert shared.summary["outcomes"] == {"hit-remote": 3}, shared.err
    assert shared.target("//:ab")["digest"] == cold.target("//:ab")["digest"]
    one, other = (machine.workspace.root / "hb-out/ab/ab" for machine in (first, second))
    assert one.read_bytes() == other.read_bytes()
    assert second.build().summary["outcomes"] == {"hit-local": 3}


def test_a_second_machine_whose_builder_is_another_user_builds_nothing(machines, http_url: str, another_user) -> None:
    first, second = machines(http_url), machines(http_url)
    cold = first.build()
    key = first.home / "hb/cache-signing.pem"
    subprocess.run(["chown", "-R", "65534:65534", str(second.workspace.root.parent)], check=True)
    shared = another_user(
        second.workspace, "build", "//:ab", "--json", "--remote-cache", http_url, HB_CACHE_SIGNING_KEY=key.read_text()
    )
    assert shared.returncode == 0, shared.stderr
    rows = [json.loads(line) for line in shared.stdout.splitlines()]
    assert rows[-1]["summary"]["outcomes"] == {"hit-remote": 3}
    assert rows[0]["digest"] == cold.target("//:ab")["digest"]
    shown = second.workspace.root / "hb-out/ab/ab"
    assert shown.read_bytes() == (first.workspace.root / "hb-out/ab/ab").read_bytes()


def test_a_hit_costs_one_request_and_one_per_blob_needed(machines, url: str) -> None:
    machines(url).build()
    said = machines(url).build().err
    requests = int(re.search(r"(\d+) requests", said)[1])
    # 3 results, and ab: it is shown. The others are too small to need a request, or needed by nobody here.
    # And one in each build: what a REAPI server can do; that a bucket's results were used.
    assert requests <= 3 + 1 + url.startswith(("grpc", "s3")), said


@pytest.mark.slow
def test_nothing_but_what_is_shown_is_brought(machines, url: str) -> None:
    machines(url).build()
    for word, ab, zeros in (("minimal", False, False), ("toplevel", True, False), ("all", True, True)):
        machine = machines(url)
        built = machine.build("--download", word)
        assert built.built == 0
        names = {path.name for path in (machine.workspace.store / "cas").rglob("*")}
        assert (hashlib.sha256(bytes(40000)).hexdigest() in names) == zeros, word
        assert (machine.workspace.root / "hb-out/ab").exists() == ab
        assert bool(built.target("//:ab")["path"]) == ab


@pytest.mark.slow
def test_what_was_left_is_fetched_when_it_is_needed(machines, url: str) -> None:
    machines(url).build()
    second = machines(url)
    assert second.build("--download", "minimal").built == 0
    second.workspace.write("b.txt", "three\n")  # ab runs here and needs a's big file, which is not here
    edited = second.build()
    assert edited.summary["outcomes"] == {"built": 2, "hit-local": 1}
    assert (second.workspace.root / "hb-out/ab/ab").read_text().splitlines()[1] == "three"


@pytest.mark.slow
def test_a_reader_writes_nothing_and_a_writer_reads_nothing(machines, http_url: str, http_cache) -> None:
    first = machines(http_url)
    first.workspace.hb("cache", "keygen", env={"XDG_CONFIG_HOME": str(first.home)})
    assert first.build("--cache-mode", "read").built == 3
    assert not list(http_cache.folder.glob(f"{http_url.rpartition('/')[2]}/**/*"))
    assert machines(f"{http_url}?mode=write").build().built == 3
    assert machines(http_url).build("--cache-mode", "write").built == 3
    assert machines(http_url).build("--cache-mode", "off").built == 3
    assert machines(http_url).build("--cache-mode", "read").built == 0


# --- lost and broken things -----------------------------------------------------------------------


def stored(url: str, http_cache, kind: str) -> list[Path]:
    return [path for path in (http_cache.folder / url.rpartition("/")[2]).glob(f"**/{kind}/*") if path.is_file()]


def test_evicted_blobs_are_made_again_in_the_same_invocation(machines, http_url: str, http_cache) -> None:
    machines(http_url).build()
    for path in stored(http_url, http_cache, "cas"):
        path.unlink()
    second = machines(http_url)
    again = second.build()
    assert again.summary["outcomes"].get("evicted", 0) >= 1, again.err
    assert "were gone" in again.err
    assert (second.workspace.root / "hb-out/ab/ab").exists()
    # and whoever made them again put them back
    assert machines(http_url).build("--download", "all").summary["outcomes"] == {"hit-remote": 3}


@pytest.mark.slow
def test_an_evicted_input_makes_its_producer_run_again(machines, http_url: str, http_cache) -> None:
    machines(http_url).build()
    second = machines(http_url)
    second.build("--download", "minimal")
    for path in stored(http_url, http_cache, "cas"):
        path.unlink()
    second.workspace.write("b.txt", "three\n")
    again = second.build()
    assert again.summary["outcomes"]["evicted"] == 1, again.err
    assert again.target("//:ab")["outcome"] == "built"


@pytest.mark.parametrize(
    "damage", ["flip", *(pytest.param(one, marks=pytest.mark.slow) for one in ("truncate", "empty", "other"))]
)
@pytest.mark.parametrize("kind", ["ac", pytest.param("cas", marks=pytest.mark.slow)])
def test_damaged_objects_are_never_used(machines, http_url: str, http_cache, damage: str, kind: str) -> None:
    first = machines(http_url)
    digest = first.build().target("//:ab")["digest"]
    files = stored(http_url, http_cache, kind)
    contents = [path.read_bytes() for path in files]
    for path, data in zip(files, contents, strict=True):
        path.write_bytes(
            {
                "flip": data[:-30] + bytes([data[-30] ^ 1]) + data[-29:],
                "truncate": data[: len(data) // 2],
                "empty": b"",
                "other": contents[0] + b"x",
            }[damage]
        )
    second = machines(http_url)
    again = second.build()
    assert again.target("//:ab")["digest"] == digest
    assert again.built + again.summary["outcomes"].get("evicted", 0) >= 1, again.err
    assert "ignored" in again.err or "wrong content" in again.err


# --- whose results --------------------------------------------------------------------------------


@pytest.mark.slow
def test_results_of_others_are_misses_until_they_are_trusted(machines, http_url: str) -> None:
    first, stranger = machines(http_url, "alice"), machines(http_url, "bob")
    public = re.search(r"ed25519:\S+", first.build().err)[0]
    foreign = stranger.build("--cache-mode", "read-write")
    assert foreign.built == 3
    assert "results ignored: it is signed by" in foreign.err
    assert "its place is taken" in foreign.err
    friend = machines(http_url, "bob")
    trust(friend, default=[public])
    assert friend.build().built == 0


@pytest.mark.slow
def test_a_release_reads_what_its_policy_names_only(machines, http_url: str, tmp_path: Path) -> None:
    laptop, ci = machines(http_url, "laptop"), machines(http_url, "ci")
    laptop.build()
    key = keygen(ci, tmp_path / "ci.pem")
    release = machines(http_url, "laptop")
    trust(release, release=[key])
    assert release.build().built == 0  # the default policy trusts your own results
    refused = release.build("--trust-policy", "release")
    assert refused.summary["outcomes"] == {"built": 3}, "neither the remote's results nor the local copies of them"
    assert "a key the policy 'release' does not name" in refused.err
    alone = machines(http_url, "laptop")
    trust(alone, release=[key])
    assert alone.build().built == 0
    assert alone.hb("build", "//:ab", "--json", "--trust-policy", "release", "--cache-mode", "off").built == 3


@pytest.mark.slow
def test_an_unknown_policy_and_one_without_keys_are_refused(machines, http_url: str) -> None:
    machine = machines(http_url)
    trust(machine, release=["ed25519:" + "A" * 43 + "="], empty=[])
    wrong = machine.hb("build", "//:ab", "--trust-policy", "relaese")
    assert wrong.code == 2
    assert "did you mean 'release'" in wrong.err
    empty = machine.hb("build", "//:ab", "--trust-policy", "empty")
    assert empty.code == 2
    assert "has no keys" in empty.err


@pytest.mark.slow
def test_a_zone_is_read_by_nobody_else(machines, http_url: str) -> None:
    assert machines(http_url).build("--cache-zone", "pr-7").built == 3
    assert machines(http_url).build("--cache-mode", "read").built == 3
    assert machines(http_url).build("--cache-zone", "pr-8", "--cache-mode", "read").built == 3
    assert machines(http_url).build("--cache-zone", "pr-7", "--cache-mode", "read").built == 0


@pytest.mark.slow
def test_a_zone_reads_main_and_adds_to_it_only_what_is_new(machines, http_url: str, http_cache) -> None:
    machines(http_url).build()
    request = machines(http_url)
    request.workspace.write("b.txt", "three\n")
    built = request.build("--cache-zone", "pr-7")
    assert built.summary["outcomes"] == {"built": 2, "hit-remote": 1}
    again = machines(http_url)
    again.workspace.write("b.txt", "three\n")
    assert again.build("--cache-zone", "pr-7", "--download", "all").built == 0


@pytest.mark.slow
def test_a_result_copied_to_another_zone_or_key_is_refused(machines, http_url: str, http_cache) -> None:
    """A bucket lets its writers copy objects; a signature names the action and the zone."""
    top = http_cache.folder / http_url.rpartition("/")[2]
    machines(http_url).build("--cache-zone", "pr-7")
    machines(http_url).build("--cache-zone", "pr-7")
    results = sorted((top / "pr-7/ac").iterdir())
    probe = machines(http_url)
    probe.build("--cache-mode", "write")
    for path, other in zip(sorted((top / "ac").iterdir()), results, strict=True):
        path.write_bytes(other.read_bytes())
    copied = machines(http_url).build("--cache-mode", "read")
    assert copied.built == 3
    assert "it was written for another action" in copied.err or "for the zone 'pr-7'" in copied.err
    for path in (top / "ac").iterdir():
        path.write_bytes(max((one.read_bytes() for one in results), key=len))
    swapped = machines(http_url).build("--cache-mode", "read")
    assert swapped.built == 3


@pytest.mark.slow
def test_a_different_result_is_an_incident_and_both_are_kept(machines, http_url: str, http_cache) -> None:
    machines(http_url).workspace.build_file("")
    random = 'command(name="ab", rootfs=":rootfs", cmd="head -c 100000 /dev/urandom > out", kind="blob")'
    first, second = machines(http_url), machines(http_url)
    for machine in (first, second):
        machine.workspace.build_file(random)
    one = first.build()
    other = second.build("--cache-mode", "write")
    assert one.target("//:ab")["digest"] != other.target("//:ab")["digest"]
    assert "not reproducible" in other.err
    record = json.loads(next((second.workspace.store / "incidents").iterdir()).read_text())
    assert record["ours"]["outputs"] != record["theirs"]["outputs"]
    assert (http_cache.folder / record["ours"]["kept"].removeprefix(f"{http_url.rpartition('/')[0]}/")).exists()
    third = machines(http_url)
    third.workspace.build_file(random)
    assert third.build().target("//:ab")["digest"] == one.target("//:ab")["digest"], "the first stays"


# --- what is never written ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("cmd", ["echo x > out; false", "echo x > out; sleep 60", "true"])
def test_failures_are_not_written(machines, http_url: str, http_cache, cmd: str) -> None:
    machine = machines(http_url)
    machine.workspace.build_file(f'command(name="ab", rootfs=":rootfs", cmd="{cmd}", kind="blob", timeout=1)')
    assert machine.hb("build", "//:ab").code == 1
    assert not stored(http_url, http_cache, "ac")


def test_secrets_of_the_environment_are_in_nothing_that_is_written(
    machines, http_url: str, http_cache, tmp_path
) -> None:
    machine = machines(http_url, "home")
    pem = tmp_path / "k.pem"
    keygen(machine, pem)
    secret = "s3cr3t-" + uuid.uuid4().hex
    machine.workspace.build_file(
        'command(name="ab", rootfs=":rootfs", cmd="env > out; cat /proc/*/environ >> out 2>/dev/null; true", kind="blob")'
    )
    machine.build(HB_CACHE_TOKEN=secret, AWS_SECRET_ACCESS_KEY=secret, HB_CACHE_SIGNING_KEY=pem.read_text())
    needles = [secret.encode(), pem.read_bytes().splitlines()[1]]
    top = http_cache.folder / http_url.rpartition("/")[2]
    for folder in (top, machine.workspace.store, machine.workspace.root):
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                if data[:4] == b"\x28\xb5\x2f\xfd":
                    data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
                assert not any(needle in data for needle in needles), path


@pytest.mark.slow
def test_a_workspace_file_gets_no_token(machines, http_cache) -> None:
    """A pull request may name any remote; what is secret goes only where the user sends it."""
    url = f"{http_cache.url}/token/{uuid.uuid4().hex}"
    machine = machines(url)
    machine.workspace.write("pyproject.toml", f'[tool.hb]\n[tool.hb.cache]\nremote = "{url}"\n')
    words = ("build", "//:ab", "--json")
    named = machine.workspace.hb(*words, env={"XDG_CONFIG_HOME": str(machine.home), "HB_CACHE_TOKEN": "sesame"})
    assert named.code == 0
    assert "other credentials" in named.err
    asked = machines(url).build(HB_CACHE_TOKEN="sesame")
    assert "other credentials" not in asked.err


# --- a remote that is not well --------------------------------------------------------------------


@pytest.mark.slow
def test_a_remote_that_is_not_there_costs_a_line(machines) -> None:
    for url in ("http://127.0.0.1:9/x", "grpc://127.0.0.1:9"):
        built = machines(url).build()
        assert built.built == 3
        assert "127.0.0.1:9" in built.err


@pytest.mark.slow
def test_a_key_file_is_its_owners(machines, tmp_path: Path) -> None:
    machine = machines("http://127.0.0.1:9")
    path = tmp_path / "x" / "key.pem"
    assert keygen(machine, path).startswith("ed25519:")
    assert path.stat().st_mode & 0o777 == 0o600
    again = machine.workspace.hb("cache", "keygen", "--output", str(path))
    assert again.code == 2
    assert "exists" in again.err


@pytest.mark.slow
def test_lost_files_of_a_remote_image_are_made_again(machines, http_url: str, http_cache) -> None:
    """A layer is a recipe: when what it is made of is gone, the one who made that runs again."""
    text = """
from rules.image import image, layer
platform(name="linux-amd64", os="linux", arch="amd64")
platform(name="linux-arm64", os="linux", arch="arm64")
command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out/opt && cp a.txt out/opt && head -c 3000000 /dev/zero > out/opt/big && echo hi > out/opt/small")
layer(name="files", files=[":a"])
image(name="ab", layers=[":files"])
"""
    first = machines(http_url)
    first.workspace.build_file(text)
    digest = first.build().target("//:ab")["digest"]
    whole = machines(http_url)
    whole.workspace.build_file(text)
    shared = whole.build()
    assert (shared.built, shared.target("//:ab")["digest"]) == (0, digest)
    for path in stored(http_url, http_cache, "cas"):
        path.unlink()
    second = machines(http_url)
    second.workspace.build_file(text)
    again = second.build()
    assert again.target("//:ab")["digest"] == digest
    assert again.summary["outcomes"].get("evicted", 0) >= 1, again.err
    assert len(list((second.workspace.root / "hb-out/ab/blobs/sha256").iterdir())) == 3


@pytest.mark.slow
def test_uploads_may_be_left(machines, http_cache) -> None:
    with fault_proxy(http_cache.url) as proxy:
        proxy.fault, proxy.where = "hang", "PUT"
        machine = machines(f"{proxy.url}/{uuid.uuid4().hex}?timeout=15")
        left = machine.build("--no-wait-uploads")
        assert left.built == 3
        assert "--no-wait-uploads" in left.err
