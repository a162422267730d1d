"""Fetches with a secret, against real servers: who gets it, who does not, and that nothing shows it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_servers import git_served

from hermetic.digest import Digest
from hermetic.errors import FetchError, HbError, InternalError
from hermetic.fetch.dispatch import Options, fetch_batch
from hermetic.fetch.login import Login
from hermetic.fetch.spec import FetchRequest
from hermetic.fetch.transport import Refused
from hermetic.secret import Secret
from hermetic.vault import Source, Vault

pytestmark = pytest.mark.sandbox
VALUE = "tok-9f8e7d6c5b4a/3928+x"
DATA = b"the private file"
PIN = Digest.of(DATA).hash


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    (tmp_path / "token").write_text(VALUE + "\n")
    (tmp_path / "other").write_text("the other secret")
    token, other = str(tmp_path / "token"), str(tmp_path / "other")
    bound = Source("file", token, "here", ("localhost",))
    return Vault({"TOKEN": Source("file", token), "OTHER": Source("file", other), "BOUND": bound})


def request(*urls: str, secret: str = "TOKEN", user: str = "", label: str = "//a:b") -> FetchRequest:
    return FetchRequest(label, {"sha256": PIN}, {"urls": urls, "auth": {"secret": secret, "user": user}}, (secret,))


def guarded(web: Any, seen: Any) -> Any:
    """What a server says that wants the token."""
    return web.Reply(DATA) if seen.headers.get("authorization") == f"Bearer {VALUE}" else web.Reply(status=401)


@pytest.fixture
def get(tmp_path: Path, store: Any, vault: Vault) -> Any:
    runs = iter(range(100))

    def run(*requests: FetchRequest, operation: str = "http", **options: Any) -> list[Any]:
        work = tmp_path / f"work{next(runs)}"
        return fetch_batch(operation, requests, work, store, Options(vault=vault, **options))

    return run


def test_a_token_opens_the_file(web: Any, get: Any, tmp_path: Path) -> None:
    with web.Server(lambda seen: guarded(web, seen)) as server:
        (outcome,) = get(request(f"{server.url}/f"))
    assert not isinstance(outcome, FetchError), outcome
    assert outcome.digest == Digest.of(DATA)
    for path in tmp_path.rglob("work*/**/*"):
        assert not path.is_file() or VALUE.encode() not in path.read_bytes()


def test_a_user_and_a_password(web: Any, get: Any) -> None:
    with web.Server(lambda seen: web.Reply(DATA)) as server:
        get(request(f"{server.url}/f", user="me"))
    assert server.seen[0].headers["authorization"] == "Basic " + base64.b64encode(f"me:{VALUE}".encode()).decode()


def test_a_redirect_to_another_host_does_not_get_it(web: Any, get: Any) -> None:
    with web.Server(lambda _: web.Reply(DATA)) as other:
        away = web.Reply(status=302, headers={"Location": f"http://localhost:{other.port}/f"})
        with web.Server(lambda _: away) as server:
            get(request(f"{server.url}/f"))
    assert server.seen[0].headers["authorization"] == f"Bearer {VALUE}"
    assert other.seen and "authorization" not in other.seen[0].headers


def test_a_server_that_sends_it_back_in_an_address(web: Any, get: Any) -> None:
    """What it puts into Location comes into messages."""
    with web.Server(lambda _: web.Reply(status=302, headers={"Location": f"gopher://x/{VALUE}"})) as server:
        (outcome,) = get(request(f"{server.url}/f"))
    assert "[secret TOKEN]" in str(outcome) and VALUE not in str(outcome)


def test_mirrors_outside_the_hosts_it_is_bound_to_are_asked_without_it(web: Any, get: Any) -> None:
    with web.Server(lambda _: web.Reply(status=404)) as elsewhere, web.Server(lambda _: web.Reply(DATA)) as home:
        urls = f"http://127.0.0.1:{elsewhere.port}/f", f"http://localhost:{home.port}/f"
        (outcome,) = get(request(*urls, secret="BOUND"))
    assert not isinstance(outcome, FetchError), outcome
    assert "authorization" not in elsewhere.seen[0].headers
    assert home.seen[0].headers["authorization"] == f"Bearer {VALUE}"


def test_a_pull_request_that_names_its_own_host(web: Any, get: Any) -> None:
    with web.Server(lambda _: web.Reply(DATA)) as evil:
        (outcome,) = get(request(f"{evil.url}/f", secret="BOUND"))
    assert "the secret BOUND is bound to localhost, and no address of the fetch is there" in str(outcome)
    assert evil.seen == []


@pytest.mark.parametrize("url", ["http://example.org/f", "http://10.0.0.1/f", "http://localhost.example.org/f"])
def test_it_never_goes_in_the_clear(url: str, get: Any) -> None:
    (outcome,) = get(request(url))
    assert "would carry the secret TOKEN in the clear: use https" in str(outcome)


def test_no_proxy_reads_what_goes_to_this_machine(web: Any, get: Any) -> None:
    with web.Server(lambda _: web.Reply(DATA)) as server, web.Server(lambda _: web.Reply(DATA)) as proxy:
        environ = {"PATH": os.environ["PATH"], "http_proxy": proxy.url, "no_proxy": "example.org"}
        for host in ("127.0.0.1", "localhost"):
            (outcome,) = get(request(f"http://{host}:{server.port}/f"), environ=environ)
            assert not isinstance(outcome, FetchError), outcome
    assert proxy.seen == [] and server.seen


@pytest.mark.parametrize("value", [b"one\r\nX-Other: two", b"one two\nthree", b"tab\there-it-is", b"nul\0here-it-is"])
def test_a_value_that_would_be_more_than_a_header(value: bytes) -> None:
    with pytest.raises(FetchError, match="holds a line break or another control character") as caught:
        _ = Login(Secret("TOKEN", value)).header
    assert "two" not in str(caught.value)


def test_login_to_this_machine_or_by_tls() -> None:
    login = Login(Secret("TOKEN", VALUE.encode()))
    assert all(map(login.goes_to, ["https://example.org/x", "http://127.0.0.1:1/", "http://localhost"]))
    for url in ("http://example.org", "ftp://localhost/x", "git://127.0.0.1/", "http://[::1]/", "http://127.0.0.2/"):
        with pytest.raises(Refused):
            login.goes_to(url)


def test_a_missing_secret_loses_only_those_that_need_it(web: Any, get: Any) -> None:
    with web.Server(lambda seen: web.Reply(DATA)) as server:
        wants, without = (
            request(f"{server.url}/f", secret="NOBODY"),
            FetchRequest("//c", {"sha256": PIN}, {"urls": [server.url]}),
        )
        lost, good = get(wants, without)
    assert isinstance(lost, FetchError)
    assert lost.label == "//a:b" and "the secret NOBODY is not given" in str(lost)
    assert not isinstance(good, FetchError), good


def test_what_is_in_the_store_needs_no_secret(store: Any, get: Any) -> None:
    store.put(DATA)
    (outcome,) = get(request("https://example.org/f", secret="NOBODY"))
    assert outcome.digest == Digest.of(DATA)


def test_who_has_no_login_is_told_of_it(web: Any, get: Any) -> None:
    with web.Server(lambda seen: guarded(web, seen)) as server:
        (lost,) = get(FetchRequest("//c", {"sha256": PIN}, {"urls": [f"{server.url}/f"]}))
    assert "answers 401" in str(lost) and "auth_secret names a secret for it" in str(lost)


PROBES = '''
import json, os, sys
from pathlib import Path
from hermetic.errors import FetchError
from hermetic.fetch.spec import FetchReply


def value(request):
    return request.given[0].value.strip().decode() if request.given else ""


def answers_in_an_error(requests, work):
    return [FetchReply(None, FetchError(f"refused {value(one)}", hint=f"try {value(one)}")) for one in requests]


def raises(requests, work):
    raise FetchError(f"refused {value(requests[0])}")


def crashes(requests, work):
    raise ValueError(f"no {value(requests[0])}")


def prints_and_dies(requests, work):
    print(value(requests[0])); sys.stderr.write(value(requests[0])); sys.stderr.flush()
    os._exit(3)


def keeps_it(requests, work):
    (work / "0").write_text("x" + value(requests[0]))
    return [FetchReply(work / "0")]


def knows(requests, work):
    """What this worker can find out: its own secrets, and every process's command line and environment."""
    seen = {"given": [[one.name for one in request.given] for request in requests], "processes": ""}
    for path in Path("/proc").glob("[0-9]*/*"):
        if path.name in ("cmdline", "environ"):
            try:
                seen["processes"] += path.read_bytes().decode("latin-1")
            except OSError:
                pass
    (work / "0").write_text(json.dumps(seen))
    raise FetchError("SEEN" + json.dumps(seen))
'''


@pytest.fixture
def probe(tmp_path: Path, get: Any) -> Any:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "leaky.py").write_text(PROBES)

    def run(name: str, *requests: FetchRequest) -> list[Any]:
        given = requests or (request(),)
        return get(*given, operation="x", fetchers={"x": f"leaky:{name}"}, plugins=(str(plugins),))

    return run


@pytest.mark.parametrize("name", ["answers_in_an_error", "raises", "crashes", "prints_and_dies", "keeps_it"])
def test_what_a_worker_says_and_makes(name: str, probe: Any, store: Any, tmp_path: Path) -> None:
    try:
        (outcome,) = probe(name)
    except InternalError as error:
        outcome = error
        assert error.__cause__ is None
    assert isinstance(outcome, HbError)
    text = f"{outcome} {outcome!r} {outcome.hint} {json.dumps(outcome.to_dict())}"
    assert VALUE not in text
    assert ("[secret TOKEN]" in text) != (name == "keeps_it")
    if name == "keeps_it":
        assert "the secret TOKEN is in out/0" in text
        assert store.find_sha256(Digest.of(f"x{VALUE}".encode()).hash) is None
    logs = [path for path in tmp_path.rglob("*.log") if VALUE.encode() in path.read_bytes()]
    assert logs == []


def test_workers_know_their_own_secrets_only(probe: Any) -> None:
    said = probe("knows", request(), request(secret="OTHER"), request(), FetchRequest("//c", {"sha256": "0" * 64}, {}))
    seen = [json.loads(str(one.message).partition("SEEN")[2]) for one in said]
    assert [one["given"] for one in seen] == [[["TOKEN"]] * 2, [["OTHER"]], [["TOKEN"]] * 2, [[]]]
    for one in seen:
        assert "hermetic.fetch.worker" in one["processes"], "the probe sees command lines"
        assert VALUE not in one["processes"] and "the other secret" not in one["processes"]


@pytest.fixture
def over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """For those who log in; and what was sent as Authorization."""
    monkeypatch.setenv("HOME", str(tmp_path))
    sent: list[str] = []
    login = "Basic " + base64.b64encode(f"x-access-token:{VALUE}".encode()).decode()
    with git_served(tmp_path, login, sent) as url:
        yield url, sent


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_a_private_repository(over_http: tuple[str, list[str]], get: Any, store: Any, tmp_path: Path) -> None:
    url, sent = over_http
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q")
    (origin / "f").write_text("1")
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "m")
    head = git(origin, "rev-parse", "HEAD")
    where = {"urls": [f"{url}/origin/.git"]}
    login = {"auth": {"secret": "TOKEN", "user": ""}}
    without, wrong, good = (
        get(FetchRequest("//a", {"commit": head}, {**where, **more}, names), operation="git")[0]
        for more, names in (
            ({}, ()),
            ({"auth": {"secret": "OTHER", "user": ""}}, ("OTHER",)),
            (login, ("TOKEN",)),
        )
    )
    assert isinstance(without, FetchError)
    assert isinstance(wrong, FetchError) and "the other secret" not in str(wrong)
    assert not isinstance(good, FetchError), good
    assert store.texts(good.digest) == {"f": "1"}
    assert "" in sent and len(set(sent)) == 3
    for path in tmp_path.rglob("work*/**/*"):
        assert not path.is_file() or VALUE.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("login_first", [False, True])
def test_git_sends_it_to_no_other_host(
    web: Any, get: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login_first: bool
) -> None:
    """Another host asks for a login after a redirect: git's helper is configured for the first only."""
    monkeypatch.setenv("HOME", str(tmp_path))
    asks = web.Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="evil"'})
    with web.Server(lambda _: asks) as evil:

        def away(seen: Any) -> Any:
            if login_first and "authorization" not in seen.headers:
                return web.Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="first"'})
            return web.Reply(status=302, headers={"Location": f"http://localhost:{evil.port}{seen.path}"})

        with web.Server(away) as server:
            url = f"{server.url}/x.git"
            pinned = FetchRequest("//a", {"commit": "0" * 40}, {"urls": [url], "auth": {"secret": "TOKEN"}}, ("TOKEN",))
            (outcome,) = get(pinned, operation="git")
    assert isinstance(outcome, FetchError)
    assert evil.seen, "git followed"
    assert any("authorization" in one.headers for one in server.seen) == login_first
    assert not [one for one in evil.seen if "authorization" in one.headers]


def test_no_environment_of_ours_reaches_a_worker(probe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HB_SECRET_FROM_HERE", VALUE)
    (said,) = probe("knows", FetchRequest("//c", {"sha256": "0" * 64}, {}))
    assert "HB_SECRET" not in str(said)
