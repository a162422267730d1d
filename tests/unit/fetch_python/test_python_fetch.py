"""Files from the user's index: which one that is, how its pages read, what may go wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.fetch import python
from hermetic.fetch.python import indexes, parse_page
from hermetic.fetch.spec import FetchRequest
from hermetic.fetch.transport import Refused

URL = "https://index.example.org/simple/tool/"
HTML = "text/html"
JSON = "application/vnd.pypi.simple.v1+json"
SHA = "0" * 64


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        ('<a href="t-1.whl">x</a>', HTML, [("t-1.whl", f"{URL}t-1.whl", "")]),
        (f'<A HREF="../../f/t-1.whl#sha256={SHA}">', HTML, [("t-1.whl", "https://index.example.org/f/t-1.whl", SHA)]),
        ('<a href="/f/t-1%2Bcpu.whl#md5=1">', HTML, [("t-1+cpu.whl", "https://index.example.org/f/t-1%2Bcpu.whl", "")]),
        ('<a href="https://x.example.org/t-1.whl?a=b">', HTML, [("t-1.whl", "https://x.example.org/t-1.whl?a=b", "")]),
        ('<base href="/b/"><a href="t-1.whl">', HTML, [("t-1.whl", "https://index.example.org/b/t-1.whl", "")]),
        ('<a name="x">y</a><p>none', HTML, []),
        ("", HTML, []),
        (
            json.dumps({"files": [{"filename": "t-1.whl", "url": "../t", "hashes": {"sha256": SHA}}]}),
            JSON,
            [("t-1.whl", "https://index.example.org/simple/t", SHA)],
        ),
        (json.dumps({"files": []}), "application/json", []),
    ],
)
def test_pages(body: str, kind: str, found: list[tuple[str, str, str]]) -> None:
    assert parse_page(body.encode(), kind, URL) == found


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"files": [1]}',
        '{"files": [{}]}',
        '{"files": null}',
        '{"files": [{"filename": "a", "url": "b", "hashes": 1}]}',
    ],
)
def test_what_is_no_page_is_refused(body: str) -> None:
    with pytest.raises(Refused):
        parse_page(body.encode(), JSON, URL)


@given(st.binary(max_size=200), st.sampled_from([HTML, JSON]))
def test_any_body_is_a_page_or_refused(body: bytes, kind: str) -> None:
    try:
        assert all(len(one) == 3 for one in parse_page(body, kind, URL))
    except Refused:
        pass


# --- which index ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        (
            {"PIP_INDEX_URL": "https://p.example.org", "UV_DEFAULT_INDEX": "https://u.example.org"},
            ["https://p.example.org"],
        ),
        (
            {"UV_DEFAULT_INDEX": "https://u.example.org", "UV_INDEX_URL": "https://v.example.org"},
            ["https://u.example.org"],
        ),
        ({"UV_INDEX_URL": "https://v.example.org"}, ["https://v.example.org"]),
        (
            {
                "PIP_INDEX_URL": "https://p.example.org",
                "PIP_EXTRA_INDEX_URL": "https://a.example.org https://b.example.org",
            },
            ["https://p.example.org", "https://a.example.org", "https://b.example.org"],
        ),
    ],
)
def test_variables_name_the_index(environ: dict[str, str], found: list[str]) -> None:
    assert indexes(environ) == found


def test_configuration_files_name_the_index(tmp_path: Path) -> None:
    uv = tmp_path / "uv.toml"
    uv.write_text('[[index]]\nurl = "https://uv.example.org/simple"\ndefault = true\n')
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_CONFIG_FILE": str(uv)}
    assert indexes(environ) == ["https://uv.example.org/simple"]
    pip = tmp_path / "pip.conf"
    pip.write_text("[global]\nindex-url = https://pip.example.org/simple\n")
    assert indexes({**environ, "PIP_CONFIG_FILE": str(pip)}) == ["https://pip.example.org/simple"]


def test_without_any_configuration_the_client_knows_its_default(tmp_path: Path) -> None:
    (found,) = indexes({"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert found.startswith("https://")


# --- fetching ---------------------------------------------------------------------------------------


def request(name: str, filename: str, data: bytes) -> FetchRequest:
    sha256 = hashlib.sha256(data).hexdigest()
    return FetchRequest("//p:wheels", {"sha256": sha256}, {"name": name, "version": "1", "filename": filename})


def fetch(work: Path, *requests: FetchRequest) -> list[Any]:
    work.mkdir()
    return python.fetch(requests, work)


@pytest.mark.parametrize("as_json", [False, True])
def test_files_come_by_name(index: Any, tmp_path: Path, as_json: bool) -> None:
    index.json = as_json
    wanted = []
    for number in range(12):
        name, data = f"Some_Tool.{number % 4}", f"content {number}".encode()
        filename = f"tool-{number}+cpu-py3-none-any.whl"
        index.add(name, filename, data)
        wanted.append(request(name, filename, data))
    replies = fetch(tmp_path / "work", *wanted)
    assert [reply.error for reply in replies] == [None] * 12
    assert [reply.path.read_bytes() for reply in replies] == [f"content {n}".encode() for n in range(12)]
    pages = [path for path in index.asked if path.startswith("/simple/")]
    assert sorted(pages) == [f"/simple/some-tool-{n}/" for n in range(4)]  # one page a project, normalised


def test_one_that_is_gone_does_not_lose_the_others(index: Any, tmp_path: Path) -> None:
    index.add("tool", "tool-1.whl", b"one")
    gone, there, unknown = fetch(
        tmp_path / "work",
        request("tool", "tool-0.whl", b"zero"),
        request("tool", "tool-1.whl", b"one"),
        request("nobody", "nobody-1.whl", b""),
    )
    assert there.error is None
    for reply in (gone, unknown):
        assert "is not listed by 127.0.0.1" in str(reply.error)
        assert "`hb lock //p:wheels`" in str(reply.error) and "//p:wheels" in str(reply.error)


def test_a_file_with_other_content_is_refused(index: Any, tmp_path: Path) -> None:
    index.add("tool", "tool-1.whl", b"changed")
    (reply,) = fetch(tmp_path / "work", request("tool", "tool-1.whl", b"as locked"))
    assert reply.path is None
    assert "tool-1.whl" in str(reply.error) and "expected" in str(reply.error)


def test_an_index_that_is_down_says_so(index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    index.answers["/simple/tool/"] = (503, "text/plain", b"later")
    (reply,) = fetch(tmp_path / "work", request("tool", "tool-1.whl", b"x"))
    assert "answers 503" in str(reply.error) and "proxies" in str(reply.error)
    assert index.asked.count("/simple/tool/") == 3


@pytest.mark.parametrize("status", [401, 403, 410])
def test_an_index_that_refuses_is_not_asked_again(index: Any, tmp_path: Path, status: int) -> None:
    index.answers["/simple/tool/"] = (status, "text/plain", b"no")
    (reply,) = fetch(tmp_path / "work", request("tool", "tool-1.whl", b"x"))
    assert f"answers {status}" in str(reply.error)
    assert index.asked == ["/simple/tool/"]


def test_an_extra_index_helps_out(index: Any, other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{other.url}/simple/")
    index.add("tool", "tool-1.whl", b"evil")
    other.add("tool", "tool-1.whl", b"good")
    (reply,) = fetch(tmp_path / "work", request("tool", "tool-1.whl", b"good"))
    assert reply.error is None and reply.path.read_bytes() == b"good"


def test_credentials_do_not_show_in_errors(index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{index.url.replace('//', '//user:secret@')}/simple")
    index.add("tool", "tool-1.whl", b"changed")
    replies = fetch(tmp_path / "work", request("tool", "tool-1.whl", b"x"), request("none", "none-1.whl", b"x"))
    assert all(reply.error and "secret" not in str(reply.error) for reply in replies)
