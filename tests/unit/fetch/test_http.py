"""The HTTP fetcher against a real server with faults."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hermetic.errors import FetchError
from hermetic.fetch.http import Patience, Pin, download, pin_of
from hermetic.fetch.transport import Client, Policy, Refused, proxy_for, public_url, redirected

DATA = bytes(range(256)) * 5000
PIN = Pin(hashlib.sha256(DATA).hexdigest(), len(DATA))
ETAG = {"ETag": '"one"'}


class Naps:
    """Waits that are counted, not waited."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., bytes]:
    def run(*urls: str, pin: Pin = PIN, naps: Naps | None = None, environ: dict[str, str] | None = None) -> bytes:
        client = Client(Policy(timeout=5.0), environ or {"HOME": str(tmp_path)})
        download(client, urls, pin, tmp_path / "f", Patience(sleep=naps or Naps()), "//a:b")
        return (tmp_path / "f").read_bytes()

    return run


def script(*replies: Any) -> Any:
    """One reply after the other; the last one for ever."""
    left = list(replies)

    def answer(seen: Any) -> Any:
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply(seen) if callable(reply) else reply

    return answer


def test_plain(web: Any, get: Any) -> None:
    with web.Server(script(web.Reply(DATA))) as server:
        assert get(f"{server.url}/f") == DATA
    assert server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_transient_statuses_are_tried_again(web: Any, get: Any, status: int) -> None:
    naps = Naps()
    with web.Server(script(web.Reply(status=status), web.Reply(status=status), web.Reply(DATA))) as server:
        assert get(f"{server.url}/f", naps=naps) == DATA
    assert len(naps.slept) == 2
    assert 0.25 <= naps.slept[0] <= 0.5 <= naps.slept[1] <= 1.0, "the wait doubles, half of it is chance"


def test_a_short_pause_the_server_asks_for_is_kept(web: Any, get: Any) -> None:
    naps = Naps()
    with web.Server(script(web.Reply(status=429, headers={"Retry-After": "7"}), web.Reply(DATA))) as server:
        assert get(f"{server.url}/f", naps=naps) == DATA
    assert naps.slept == [7.0]


def test_a_long_pause_means_the_next_mirror(web: Any, get: Any) -> None:
    naps = Naps()
    wait = web.Reply(status=429, headers={"Retry-After": "3600"})
    with web.Server(script(wait)) as busy, web.Server(script(web.Reply(DATA))) as free:
        assert get(f"{busy.url}/f", f"{free.url}/f", naps=naps) == DATA
    assert naps.slept == []


def test_a_broken_transfer_goes_on_where_it_stopped(web: Any, get: Any) -> None:
    half = len(DATA) // 2
    with web.Server(script(web.Reply(DATA, 200, ETAG, cut=half), lambda seen: web.ranged(DATA, seen, ETAG))) as server:
        assert get(f"{server.url}/f") == DATA
    assert server.seen[1].headers["range"] == f"bytes={half}-"
    assert server.seen[1].headers["if-range"] == '"one"'


def test_without_a_validator_nothing_is_resumed(web: Any, get: Any) -> None:
    with web.Server(script(web.Reply(DATA, cut=1000), web.Reply(DATA))) as server:
        assert get(f"{server.url}/f") == DATA
    assert "range" not in server.seen[1].headers


def test_a_weak_etag_is_no_validator(web: Any, get: Any) -> None:
    with web.Server(script(web.Reply(DATA, 200, {"ETag": 'W/"1"'}, cut=1000), web.Reply(DATA))) as server:
        assert get(f"{server.url}/f") == DATA
    assert "range" not in server.seen[1].headers


def test_range_ignored(web: Any, get: Any) -> None:
    with web.Server(script(web.Reply(DATA, 200, ETAG, cut=1000), web.Reply(DATA, 200, ETAG))) as server:
        assert get(f"{server.url}/f") == DATA
    assert "range" in server.seen[1].headers


def test_another_range_than_asked(web: Any, get: Any) -> None:
    wrong = web.Reply(DATA[5:], 206, {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"})
    with web.Server(script(web.Reply(DATA, 200, ETAG, cut=1000), wrong, web.Reply(DATA))) as server:
        assert get(f"{server.url}/f") == DATA
    assert "range" not in server.seen[2].headers


def test_range_not_satisfiable(web: Any, get: Any) -> None:
    with web.Server(script(web.Reply(DATA, 200, ETAG, cut=1000), web.Reply(status=416), web.Reply(DATA))) as server:
        assert get(f"{server.url}/f") == DATA
    assert len(server.seen) == 3


def test_a_file_that_changed_in_between_is_fetched_whole(web: Any, get: Any) -> None:
    """The server ignores If-Range and continues another file: the hash says so, and once is enough."""
    other = bytes(len(DATA))

    def careless(seen: Any) -> Any:
        start = int(seen.headers["range"].removeprefix("bytes=").rstrip("-"))
        return web.Reply(DATA[start:], 206, {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"})

    with web.Server(script(web.Reply(other, 200, ETAG, cut=5000), careless, web.Reply(DATA))) as server:
        assert get(f"{server.url}/f") == DATA
    assert "range" not in server.seen[2].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(web: Any, get: Any, status: int) -> None:
    with web.Server(script(web.Reply(status=status, headers={"Location": "/g"}), web.Reply(DATA))) as server:
        assert get(f"{server.url}/f") == DATA
    assert server.seen[1].path == "/g"


def test_every_mirror_and_its_reason_is_named(web: Any, get: Any) -> None:
    with (
        web.Server(script(web.Reply(status=404))) as gone,
        web.Server(script(web.Reply(b"other"))) as wrong,
        pytest.raises(FetchError) as caught,
    ):
        get(f"{gone.url}/f", f"{wrong.url}/f", "http://127.0.0.1:1/f", "gopher://x/", pin=Pin(PIN.sha256))
    text = str(caught.value)
    assert f"{gone.url}/f: answers 404" in text
    assert f"{wrong.url}/f: has sha256 {hashlib.sha256(b'other').hexdigest()}, expected {PIN.sha256}" in text
    assert "cannot reach 127.0.0.1:1" in text
    assert "not an http or https URL" in text
    assert caught.value.label == "//a:b"
    assert "hb lock //a:b" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("reply", "phrase"),
    [
        ({"status": 404}, "answers 404"),
        ({"status": 403}, "answers 403"),
        ({"status": 206, "body": DATA}, "answers 206"),
        ({"body": DATA + b"x"}, f"has {len(DATA) + 1} bytes, expected {len(DATA)}"),
        ({"body": DATA[:-1]}, f"has {len(DATA) - 1} bytes, expected {len(DATA)}"),
        ({"body": DATA + b"x", "headers": {"Content-Length": "", "Connection": "close"}}, "more than the expected"),
        ({"body": DATA[:-1], "headers": {"Content-Length": "", "Connection": "close"}}, "expected"),
        ({"body": bytes(len(DATA))}, "has sha256"),
        ({"status": 302, "headers": {"Location": "file:///etc/passwd"}}, "not an http or https URL"),
        ({"status": 302, "headers": {"Location": "/f"}}, "redirects more than 8 times"),
        ({"status": 302, "headers": {"Location": "http://a b/"}}, "space or control"),
    ],
)
def test_a_mirror_is_given_up_at_once(web: Any, get: Any, reply: dict[str, Any], phrase: str) -> None:
    naps = Naps()
    with web.Server(script(web.Reply(**reply))) as server, pytest.raises(FetchError, match=phrase):
        get(f"{server.url}/f", naps=naps)
    assert naps.slept == []


def test_a_truncated_transfer_is_an_error_in_the_end(web: Any, get: Any, tmp_path: Path) -> None:
    with web.Server(script(web.Reply(DATA, cut=10))) as server, pytest.raises(FetchError, match="asked 4 times"):
        get(f"{server.url}/f")
    assert not (tmp_path / "f").exists(), "a failed fetch leaves no file"


@pytest.mark.parametrize("where", ["netrc", "url"])
def test_credentials_stay_with_their_host(web: Any, get: Any, tmp_path: Path, where: str) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    environ = {"HOME": str(tmp_path if where == "netrc" else tmp_path / "none")}
    with web.Server(script(web.Reply(DATA))) as other:
        away = f"http://localhost:{other.port}/f"
        with web.Server(script(web.Reply(status=302, headers={"Location": away}))) as server:
            login = "" if where == "netrc" else "me:secret@"
            assert get(f"http://{login}127.0.0.1:{server.port}/f", environ=environ) == DATA
    assert server.seen[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
    assert "authorization" not in other.seen[0].headers


def test_passwords_are_not_shown(web: Any, get: Any) -> None:
    with web.Server(script(web.Reply(status=404))) as server, pytest.raises(FetchError) as caught:
        get(f"http://me:secret@127.0.0.1:{server.port}/f")
    assert "secret" not in str(caught.value)
    assert public_url("http://me:secret@h/x") == "http://h/x"


def test_a_proxy_of_the_environment_is_used(web: Any, get: Any) -> None:
    with web.Server(script(web.Reply(DATA))) as proxy:
        environ = {"http_proxy": f"http://user:pw@127.0.0.1:{proxy.port}", "HOME": "/"}
        assert get("http://mirror.example.org/f?x=1", environ=environ) == DATA
    assert proxy.seen[0].path == "http://mirror.example.org/f?x=1"
    assert proxy.seen[0].headers["host"] == "mirror.example.org"


@pytest.mark.parametrize(
    ("no_proxy", "used"),
    [("", True), ("*", False), ("a.example.org", False), (".example.org", False), ("example.org:81", True),
     ("ample.org", True), ("b.example.org, a.example.org:80", False)],
)  # fmt: skip
def test_no_proxy(no_proxy: str, used: bool) -> None:
    environ = {"http_proxy": "http://127.0.0.1:3128", "no_proxy": no_proxy}
    assert (proxy_for("http", "a.example.org", 80, environ) is not None) == used


def test_a_proxy_of_another_kind_is_refused() -> None:
    with pytest.raises(Refused, match="not an http proxy"):
        proxy_for("http", "a.example.org", 80, {"all_proxy": "socks5://127.0.0.1:1080"})


@pytest.mark.parametrize(
    ("before", "target", "phrase"),
    [
        ("https://a.example.org/", "http://a.example.org/", "redirects from https to http"),
        ("https://a.example.org/", "//b.example.org:81/x", None),
        ("http://a.example.org/", "https://a.example.org/", None),
        ("http://a.example.org/", "ftp://a.example.org/", "not an http or https URL"),
    ],
)
def test_where_redirects_may_lead(before: str, target: str, phrase: str | None) -> None:
    if phrase is None:
        assert redirected(urlsplit(before), target).hostname
        return
    with pytest.raises(Refused, match=phrase):
        redirected(urlsplit(before), target)


@pytest.mark.parametrize("sha256", [None, "", "abc", "A" * 64, "0" * 63, "sha256:" + "0" * 64, 5])
def test_an_unpinned_fetch_says_which_command_pins_it(sha256: Any) -> None:
    with pytest.raises(FetchError) as caught:
        pin_of({"sha256": sha256})
    assert "hb lock" in str(caught.value.hint)
