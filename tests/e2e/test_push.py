"""hb cache push: a machine that built without a remote cache fills one."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from cache_servers import new_url

pytestmark = pytest.mark.sandbox
RANDOM = 'command(name="ab", rootfs=":rootfs", cmd="head -c 100000 /dev/urandom > out", kind="blob")'


@pytest.fixture(
    params=[pytest.param("s3", marks=pytest.mark.slow), "http", pytest.param("grpc", marks=pytest.mark.slow)]
)
def url(request: pytest.FixtureRequest) -> str:
    return new_url(request, request.param)


def built_alone(machine, **env: str) -> None:
    done = machine.workspace.hb("build", "//:ab", env={"XDG_CONFIG_HOME": str(machine.home), **env})
    assert done.code == 0, done.err


def push(machine, *words: str):
    return machine.hb("cache", "push", "//:ab", *words)


def test_what_was_built_alone_is_built_nowhere_else(machines, url: str) -> None:
    first = machines(url)
    built_alone(first)
    pushed = push(first)
    assert pushed.code == 0 and "hb: 3 results written, 0 were there" in pushed.err, pushed.err
    assert machines(url).build("--download", "all").summary["outcomes"] == {"hit-remote": 3}
    again = push(first)
    assert again.code == 0 and "hb: 0 results written, 3 were there" in again.err, again.err
    assert re.search(r" 0 hits, 0 misses, 0 written · \d requests, ", again.err), again.err


def test_nothing_runs_and_what_is_not_here_is_named(machines, http_url: str) -> None:
    first = machines(http_url)
    built_alone(first)
    first.workspace.write("b.txt", f"three {uuid.uuid4().hex}\n")
    pushed = push(first)
    assert pushed.code == 0
    assert "hb: 1 results written" in pushed.err, pushed.err  # a
    assert re.search(r"2 steps have no result here: //:ab \w+, //:b \w+\n", pushed.err), pushed.err
    assert first.build("-n").out.count('"would-run"') == 2, "push ran something"


def test_what_others_made_is_not_signed_anew(machines, http_cache) -> None:
    """Machine two trusts machine one; whoever trusts two alone must not get one's results with two's name on them."""
    one, other = (f"{http_cache.url}/{uuid.uuid4().hex}" for _ in range(2))
    first, second = machines(one), machines(one, "other-home")
    public = second.workspace.hb("cache", "keygen", env={"XDG_CONFIG_HOME": str(first.home)}).out.strip()
    trusting = f'[tool.hb]\n[tool.hb.trust]\ndefault = ["{public}"]\n'
    second.workspace.write("pyproject.toml", trusting)
    first.build()
    assert second.build("--download", "all").summary["outcomes"] == {"hit-remote": 3}
    second.url = other
    pushed = push(second)
    assert pushed.code == 0
    assert "hb: 0 results written, 0 were there, 3 came from a remote" in pushed.err, pushed.err
    assert not [path for path in (http_cache.folder / other.rpartition("/")[2]).rglob("*") if path.is_file()]


def test_another_result_in_its_place_is_an_incident(machines, http_url: str) -> None:
    found = [machines(http_url), machines(http_url)]
    for machine in found:
        machine.workspace.build_file(RANDOM)
        built_alone(machine)
    assert push(found[0]).code == 0
    other = push(found[1])
    assert other.code == 1 and "not reproducible" in other.err, other.err
    assert "hb: 0 results written, 0 were there" in other.err
    (record,) = (found[1].workspace.store / "incidents").iterdir()
    assert json.loads(record.read_text())["ours"] != json.loads(record.read_text())["theirs"]


def test_a_blob_that_is_gone_here_is_said_and_nothing_half_is_written(machines, http_url: str) -> None:
    first = machines(http_url)
    built_alone(first)
    for path in (first.workspace.store / "cas").glob("*/*"):
        if path.stat().st_size == 40_000:
            path.unlink()
    pushed = push(first)
    assert pushed.code == 1 and "remote cache: 1 results could not be written" in pushed.err, pushed.err
    assert machines(http_url).build().summary["outcomes"] == {"built": 1, "hit-remote": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cache-mode", "read"), "is only read here"),
        (("--cache-mode", "off"), "needs a remote cache"),
        (("//:nix",), "nix"),
    ],
)
def test_what_cannot_be_pushed_is_refused(machines, http_url: str, words: tuple[str, ...], said: str) -> None:
    first = machines(http_url)
    first.workspace.hb("cache", "keygen", env={"XDG_CONFIG_HOME": str(first.home)})
    refused = push(first, *words)
    assert refused.code != 0 and said in refused.err, refused.err
