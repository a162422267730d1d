"""Secrets in real builds: every byte that a build leaves or says is looked through for their values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard

from hermetic.secret import forms

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
