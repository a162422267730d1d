"""Files from the pools of the user's own mirrors: which mirrors those are, and what they may do wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from hermetic.errors import FetchError
from hermetic.fetch import debian
from hermetic.fetch.debian import KEYRING, Mirror, mirrors, with_apt_proxies
from hermetic.fetch.spec import FetchRequest

LINES = {
    "deb http://one.example.org/debian bookworm main": Mirror("http://one.example.org/debian", KEYRING),
    "deb [arch=amd64] https://one.example.org/debian/ sid main contrib # x": Mirror(
        "https://one.example.org/debian", KEYRING
    ),
    "deb [ signed-by=/k/debian-x.gpg arch=amd64 ] http://one.example.org/d our-suite main": Mirror(
        "http://one.example.org/d", "/k/debian-x.gpg"
    ),
    "deb http://sec.example.org/s trixie-security main": None,  # not enough by itself
    "deb-src http://one.example.org/debian bookworm main": None,
    "# deb http://one.example.org/debian bookworm main": None,
    "deb http://one.example.org/debian bookworm contrib": None,
    "deb http://one.example.org/apt cloud-sdk-bookworm main": None,
    "deb [signed-by=/k/vendor.gpg] http://one.example.org/apt bookworm main": None,
    "deb file:/srv/debian bookworm main": None,
    "deb cdrom:[Debian 12]/ bookworm main": None,
}


@pytest.mark.parametrize("line", LINES)
def test_sources_in_one_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "sources.list").write_text(f"\n{line}\n")
    wanted = LINES[line]
    if wanted:
        assert mirrors(tmp_path) == [wanted]
    else:
        with pytest.raises(FetchError, match="name no Debian archive"):
            mirrors(tmp_path)


STANZAS = """
# a comment
Types: deb deb-src
URIs: http://one.example.org/debian/ http://two.example.org/debian
# in the middle
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://sec.example.org/security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://else.example.org/node
Suites: nodistro
Components: main
Signed-By: /usr/share/keyrings/node.gpg
"""


def test_sources_in_stanzas(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(STANZAS)
    (tmp_path / "sources.list.d/debian.sources.bak").write_text(STANZAS.replace("example.org", "example.com"))
    assert mirrors(tmp_path) == [
        Mirror("http://one.example.org/debian", KEYRING),
        Mirror("http://two.example.org/debian", KEYRING),
        Mirror("http://sec.example.org/security", KEYRING, security=True),
    ]


def test_the_likely_archive_is_asked_first() -> None:
    known = [Mirror("http://a", ""), Mirror("http://s", "", security=True)]
    assert debian.urls(known, "pool/main/x/x_1+b~c_all.deb")[0].startswith("http://a/pool/main/x/x_1")
    assert debian.urls(known, "pool/updates/main/x/x_1_all.deb") == [
        "http://s/pool/updates/main/x/x_1_all.deb",
        "http://a/pool/updates/main/x/x_1_all.deb",
    ]


def request(path: str, data: bytes, label: str = "//p:packages") -> FetchRequest:
    unkeyed = {"package": "hello", "version": "1.0", "filename": path, "size": len(data), "arch": "amd64"}
    return FetchRequest(label, {"sha256": hashlib.sha256(data).hexdigest()}, unkeyed)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_files_come_from_the_pool(archive: Any, tmp_path: Path) -> None:
    wanted = []
    for number in range(20):
        data = f"package {number}".encode()
        name = f"hello+{number}~x"
        path = archive.add(data, f"Package: {name}\nVersion: 1:1.0\nArchitecture: amd64")
        # a web server undoes one level of escaping, as Debian's do
        (archive.top / "debian" / path).rename(archive.top / "debian" / path.replace("%3a", ":"))
        wanted.append(request(path.replace("%3a", ":"), data))
    work = tmp_path / "work"
    work.mkdir()
    replies = debian.fetch(wanted, work, archive.etc)
    assert [reply.error for reply in replies] == [None] * 20
    assert [reply.path.read_bytes() for reply in replies] == [f"package {n}".encode() for n in range(20)]


def test_a_file_that_is_gone_names_everything(archive: Any, tmp_path: Path) -> None:
    archive.sources("second", "bookworm", "other")
    good = archive.add(b"good", "Package: good\nVersion: 1\nArchitecture: all")
    (tmp_path / "work").mkdir()
    wanted = [request("pool/main/h/hello_1.0_amd64.deb", b"gone"), request(good, b"good")]
    gone, there = debian.fetch(wanted, tmp_path / "work", archive.etc)
    assert there.error is None and there.path.read_bytes() == b"good"
    text = str(gone.error)
    assert "hello 1.0" in text and "//p:packages" in text and "`hb lock //p:packages`" in text
    for base in ("debian", "other"):
        assert f"{archive.url}/{base}/pool/main/h/hello_1.0_amd64.deb: answers 404" in text


@pytest.mark.parametrize("lie", [b"evil", b"much longer than it was", b""])
def test_a_mirror_that_lies_is_left_for_the_next(archive: Any, tmp_path: Path, lie: bytes) -> None:
    path = archive.add(b"good", "Package: hello\nVersion: 1\nArchitecture: all")
    archive.add(b"good", "Package: hello\nVersion: 1\nArchitecture: all", base="other")
    (archive.top / "debian" / path).write_bytes(lie)
    (tmp_path / "work").mkdir()
    (alone,) = debian.fetch([request(path, b"good")], tmp_path / "work", archive.etc)
    assert alone.path is None and alone.error is not None
    archive.sources("second", "bookworm", "other")
    (both,) = debian.fetch([request(path, b"good")], tmp_path / "work", archive.etc)
    assert both.error is None and both.path.read_bytes() == b"good"


def test_no_mirror_is_every_requests_error(tmp_path: Path) -> None:
    replies = debian.fetch([request("a", b"a"), request("b", b"b")], tmp_path, tmp_path)
    assert ["name no Debian archive" in str(reply.error) for reply in replies] == [True, True]


# --- proxies ----------------------------------------------------------------------------------------


def test_apts_proxies_win_as_they_do_in_apt(tmp_path: Path) -> None:
    conf = tmp_path / "apt.conf"
    conf.write_text(
        'Dir::Etc::parts "/nowhere"; Dir::Etc::main "/nowhere";\n'
        'Acquire::http::Proxy "http://apt.example.org:3142"; Acquire::http::Proxy::near.example.org "DIRECT";\n'
    )
    environ = {"PATH": "/usr/bin:/bin", "http_proxy": "http://other.example.org", "no_proxy": "x.example.org"}
    found = with_apt_proxies({**environ, "APT_CONFIG": str(conf)})
    assert found["http_proxy"] == "http://apt.example.org:3142"
    assert found["no_proxy"] == "x.example.org,near.example.org"
    assert "https_proxy" not in found


def test_without_apt_the_environment_stays(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path), "https_proxy": "http://other.example.org"}
    assert with_apt_proxies(environ) == environ
