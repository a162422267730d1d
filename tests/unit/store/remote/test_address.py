"""URLs of remote caches."""

from __future__ import annotations

import pytest

from hermetic.errors import CommandLineError
from hermetic.store.remote.address import Mode, parse


@pytest.mark.parametrize(
    ("url", "shown", "path"),
    [
        ("s3://bucket", "s3://bucket", ""),
        ("s3://bucket/a/b/?endpoint=http://h:1&region=r&zone=pr-1", "s3://bucket/a/b", "a/b"),
        ("grpcs://host:443/instance/name", "grpcs://host:443/instance/name", "instance/name"),
        ("http://user:pa%20ss@host:8080/x", "http://host:8080/x", "x"),
    ],
)
def test_urls_are_understood_and_shown_without_secrets(url: str, shown: str, path: str) -> None:
    found = parse(url, {"HB_CACHE_TOKEN": "sesame"})
    assert (str(found), found.path) == (shown, path)
    assert "sesame" not in repr(found)
    assert "pa ss" not in repr(found)


def test_user_password_token_and_headers() -> None:
    assert parse("http://u:p%20w@h/", {"HB_CACHE_TOKEN": "t"}).secret == "p w"
    assert parse("http://h/", {"HB_CACHE_TOKEN": "t"}).secret == "t"
    found = parse("grpc://h:1?header=A:b&header=X-Key:$KEY&mode=read-write", {"KEY": "v"})
    assert found.headers == (("A", "b"), ("X-Key", "v"))
    assert found.mode is Mode.READ_WRITE


@pytest.mark.parametrize(
    "url",
    [
        "", "cache", "ftp://h/x", "s3://", "s3:///x", "http://h:port/", "http://h:99999/", "s3://b?zone=../x",
        "s3://b?zone=", "s3://b?zone=A", "s3://b?zone=a/b", "s3://b?zone=a..b", "s3://b?mod=read", "s3://b?mode=reed",
        "http://h?header=novalue", "http://h?header=X:$MISSING",
    ],
)  # fmt: skip
def test_wrong_urls_are_refused_without_showing_secrets(url: str) -> None:
    with pytest.raises(CommandLineError) as caught:
        parse(url.replace("://", "://user:hunter2@", 1) if "//h" in url else url, {})
    assert "hunter2" not in str(caught.value)
