"""Builds of a team whose jobs have the credentials that ``hb cache policy`` describes, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cache_servers import S3Server

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


@pytest.fixture
def become(s3: S3Server, machines, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``become(url, *options)``: from now on hb has the credentials of a new user with this role."""

    def act(url: str, *options: str) -> str:
        printed = machines(url).workspace.hb("cache", "policy", url, *options)
        assert printed.code == 0, printed.err
        access, secret = s3.user(json.loads(printed.out))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        return url

    return act


def test_a_team_builds_with_the_credentials_of_its_roles(machines, s3: S3Server, become) -> None:
    url = s3.url()
    assert machines(become(url, "--role", "ci")).build().built == 3
    assert machines(become(url, "--role", "laptop")).build("--cache-mode", "read").built == 0
    assert machines(become(url, "--role", "release")).build("--cache-mode", "read").built == 0

    become(url, "--role", "pull-request", "--zone", "pr-7")
    changed = machines(url)
    changed.workspace.write("b.txt", "changed\n")
    assert changed.build("--cache-zone", "pr-7").built == 2
    again = machines(url)
    again.workspace.write("b.txt", "changed\n")
    assert again.build("--cache-zone", "pr-7").built == 0

    become(url, "--role", "laptop")
    laptop = machines(url)
    laptop.workspace.write("b.txt", "changed\n")
    assert laptop.build("--cache-mode", "read").built == 2, "what a pull request wrote is nobody else's"


def test_who_writes_without_the_role_is_told_what_is_missing(machines, s3: S3Server, become) -> None:
    url = become(s3.url(), "--role", "pull-request", "--zone", "pr-7")
    built = machines(url).build()
    assert (built.code, built.built) == (0, 3)
    assert "lack s3:PutObject on hb/leases/main/*" in built.err
    assert f"hb cache policy {url.partition('?')[0]} --role" in built.err


def test_the_collectors_credentials_collect(machines, s3: S3Server, become) -> None:
    url = s3.url()
    assert machines(become(url, "--role", "ci")).build().built == 3
    others = machines(url).workspace.hb("cache", "gc", "--remote", url, "--keep-days", "0")
    assert others.code == 1 and "lack s3:ListBucket" in others.err
    become(url, "--role", "collector")
    done = machines(url).workspace.hb("cache", "gc", "--remote", url, "--keep-days", "0", "--grace-hours", "0")
    assert done.code == 0, done.err
    assert machines(become(url, "--role", "laptop")).build("--cache-mode", "read").built == 3
