"""Locks from apt itself, on archives made and signed here: what it resolves, what it must not believe."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest

from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.debian_lock import lock_debian, lock_debian_source

SPEC = {"packages": ["app"], "suites": ["trixie"], "arches": ["amd64"], "essential": False, "closed": True}


def spec(**changes: Any) -> dict[str, Any]:
    return {**SPEC, **changes}


def fill(archive: Any) -> None:
    """app (both architectures) needs lib and data; base is essential; extra is only recommended."""
    both = ("amd64", "arm64")
    for arch in both:
        archive.add(
            f"app {arch}".encode(),
            f"Package: app\nVersion: 1:2.0~rc1-1\nArchitecture: {arch}\nDepends: lib (>= 1), data\nRecommends: extra",
        )
        archive.add(
            f"lib {arch}".encode(), f"Package: lib\nVersion: 1.5\nArchitecture: {arch}\nMulti-Arch: same\nDepends: data"
        )
        archive.add(f"base {arch}".encode(), f"Package: base\nVersion: 9\nArchitecture: {arch}\nEssential: yes")
    archive.add(b"old lib", "Package: lib\nVersion: 1.4\nArchitecture: amd64\nMulti-Arch: same")
    archive.add(b"data", "Package: data\nVersion: 3\nArchitecture: all\nMulti-Arch: foreign")
    archive.add(b"extra", "Package: extra\nVersion: 1\nArchitecture: all")
    archive.publish()


def rows(text: str) -> list[list[str]]:
    return lockfile.entries(text, 7)


def test_a_lock_has_what_an_installation_needs(archive: Any, tmp_path: Path) -> None:
    fill(archive)
    text = lock_debian(SPEC, tmp_path / "work", archive.etc)
    assert text.splitlines()[0] == f"# hb lock debian {lockfile.spec_digest(SPEC)}"
    assert rows(text) == [
        ["app", "1:2.0~rc1-1", "amd64", hashlib.sha256(b"app amd64").hexdigest(), "9",
         "pool/main/a/app_1:2.0~rc1-1_amd64.deb".replace(":", "%3a"), "amd64"],
        ["data", "3", "all", hashlib.sha256(b"data").hexdigest(), "4", "pool/main/d/data_3_all.deb", "amd64"],
        ["lib", "1.5", "amd64", hashlib.sha256(b"lib amd64").hexdigest(), "9", "pool/main/l/lib_1.5_amd64.deb", "amd64"],
    ]  # fmt: skip


def test_each_architecture_is_an_installation_of_its_own(archive: Any, tmp_path: Path) -> None:
    fill(archive)
    text = lock_debian(spec(arches=["amd64", "arm64"]), tmp_path / "work", archive.etc)
    assert [(row[0], row[2], row[6]) for row in rows(text)] == [
        ("app", "amd64", "amd64"),
        ("app", "arm64", "arm64"),
        ("data", "all", "amd64,arm64"),
        ("lib", "amd64", "amd64"),
        ("lib", "arm64", "arm64"),
    ]
    assert text == lock_debian(spec(arches=["amd64", "arm64"]), tmp_path / "again", archive.etc)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"essential": True}, ["app", "base", "data", "lib"]),
        ({"closed": False}, ["app"]),
        ({"closed": False, "packages": ["data", "lib"]}, ["data", "lib"]),
        ({"packages": ["lib:arm64"], "essential": True}, ["base", "data", "lib"]),
        ({"packages": ["lib=1.4"]}, ["lib"]),
    ],
    ids=str,
)
def test_what_the_specification_says(archive: Any, tmp_path: Path, changes: dict[str, Any], names: list[str]) -> None:
    fill(archive)
    found = rows(lock_debian(spec(**changes), tmp_path / "work", archive.etc))
    assert [row[0] for row in found] == names
    if changes.get("packages") == ["lib:arm64"]:
        assert {row[0]: row[2] for row in found} == {"base": "amd64", "data": "all", "lib": "arm64"}


def test_the_newest_of_several_suites_wins_and_security_has_an_archive_of_its_own(archive: Any, tmp_path: Path) -> None:
    fill(archive)
    fields = "Package: lib\nVersion: 1.5+deb13u1\nArchitecture: amd64\nMulti-Arch: same"
    archive.add(b"safe", fields, "trixie-security", "security", "pool/updates/main")
    archive.publish("trixie-security", "security")
    both = spec(suites=["trixie", "trixie-security"], packages=["lib"])
    with pytest.raises(FetchError, match="name no archive for trixie-security"):
        lock_debian(both, tmp_path / "none", archive.etc)
    archive.sources("security", "trixie-security", "security")
    (row,) = rows(lock_debian(both, tmp_path / "work", archive.etc))
    assert row[1] == "1.5+deb13u1" and row[5] == "pool/updates/main/l/lib_1.5+deb13u1_amd64.deb"


def test_the_machines_own_apt_configuration_changes_no_lock(
    archive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(archive)
    plain = lock_debian(SPEC, tmp_path / "plain", archive.etc)
    mine = tmp_path / "apt.conf"
    mine.write_text(
        f'APT::Install-Recommends "true"; APT::Architectures {{ "s390x"; }}; APT::Default-Release "sid";\n'
        f'APT::Update::Pre-Invoke {{ "touch {tmp_path}/ran"; }}; APT::Update::Post-Invoke {{ "touch {tmp_path}/ran"; }};\n'
        f'Dir::State::status "/nowhere"; Acquire::AllowInsecureRepositories "true";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(mine))
    assert lock_debian(SPEC, tmp_path / "work", archive.etc) == plain
    assert not (tmp_path / "ran").exists()


# --- what must not be believed ----------------------------------------------------------------------


def tamper_index(folder: Path) -> None:
    index = folder / "main/binary-amd64/Packages"
    index.write_text(index.read_text().replace("Version: 1.5", "Version: 6.6"))


def tamper_release(folder: Path) -> None:
    inrelease = folder / "InRelease"
    inrelease.write_text(inrelease.read_text().replace("Origin: Test", "Origin: Best"))


def unsign(folder: Path) -> None:
    (folder / "InRelease").unlink()


def truncate(folder: Path) -> None:
    index = folder / "main/binary-amd64/Packages"
    index.write_text(index.read_text()[:-40])


def hide_behind_a_compressed_index(folder: Path) -> None:
    index = folder / "main/binary-amd64/Packages"
    Path(f"{index}.gz").write_bytes(gzip.compress(index.read_bytes().replace(b"1.5", b"6.6")))
    index.unlink()


TAMPERED = [tamper_index, tamper_release, unsign, truncate, hide_behind_a_compressed_index]


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda function: function.__name__)
def test_an_archive_that_was_tampered_with_is_refused(archive: Any, tmp_path: Path, tamper: Any) -> None:
    fill(archive)
    tamper(archive.top / "debian/dists/trixie")
    with pytest.raises(FetchError, match="apt-get update failed"):
        lock_debian(SPEC, tmp_path / "work", archive.etc)


def test_another_key_is_not_enough(archive: Any, tmp_path: Path) -> None:
    fill(archive)
    archive.keyring.write_bytes(Path("/usr/share/keyrings/debian-archive-keyring.gpg").read_bytes())
    with pytest.raises(FetchError, match="apt-get update failed"):
        lock_debian(SPEC, tmp_path / "work", archive.etc)


def test_a_key_written_into_the_sources_is_used(archive: Any, tmp_path: Path) -> None:
    fill(archive)
    armoured = archive._gpg("--armor", "--export").decode()
    lines = "\n".join(f" {line or '.'}" for line in armoured.splitlines())
    (archive.etc / "sources.list.d/debian.sources").write_text(
        f"# ours\nTypes: deb deb-src\nURIs: {archive.url}/debian/\nSuites: trixie\nComponents: main\nSigned-By:\n{lines}\n"
    )
    assert len(rows(lock_debian(SPEC, tmp_path / "work", archive.etc))) == 3


def test_an_archive_past_its_date_is_refused(archive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(archive)
    archive.publish(release="Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n")
    mine = tmp_path / "apt.conf"
    monkeypatch.setenv("APT_CONFIG", str(mine))
    for strict in ("true", "false"):
        mine.write_text(
            f'Acquire::Check-Valid-Until "{strict}"; Dir::Etc::parts "/nowhere"; Dir::Etc::main "/nowhere";'
        )
        if strict == "true":
            with pytest.raises(FetchError, match="expired"):
                lock_debian(SPEC, tmp_path / strict, archive.etc)
        else:  # the user's apt takes old archives, as it must for snapshots
            assert rows(lock_debian(SPEC, tmp_path / strict, archive.etc))


def test_a_missing_keyring_is_named(archive: Any, tmp_path: Path) -> None:
    fill(archive)
    archive.keyring.unlink()
    with pytest.raises(FetchError, match=r"keyring .*debian-test.gpg of .* is not here"):
        lock_debian(SPEC, tmp_path / "work", archive.etc)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packages": ["absent"]}, "Unable to locate package absent"),
        ({"suites": ["forky"]}, "forky Release"),
        ({"packages": ["broken"]}, "broken : Depends: nosuch"),
    ],
    ids=str,
)
def test_what_cannot_be_resolved_says_so(archive: Any, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    archive.add(b"", "Package: broken\nVersion: 1\nArchitecture: all\nDepends: nosuch")
    fill(archive)
    with pytest.raises(FetchError, match=message):
        lock_debian(spec(**changes), tmp_path / "work", archive.etc)


# --- sources ----------------------------------------------------------------------------------------


def test_a_source_is_its_upstream_archive(archive: Any, tmp_path: Path) -> None:
    archive.add_source(
        "tool",
        "1:2.1+ds-3",
        {
            "tool_2.1+ds-3.dsc": b"dsc",
            "tool_2.1+ds.orig-extra.tar.gz": b"extra",
            "tool_2.1+ds.orig.tar.xz": b"upstream",
            "tool_2.1+ds-3.debian.tar.xz": b"debian",
        },
    )
    archive.publish()
    text = lock_debian_source({"package": "tool", "suite": "trixie"}, tmp_path / "work", archive.etc)
    sha256 = hashlib.sha256(b"upstream").hexdigest()
    name = "tool_2.1+ds.orig.tar.xz"
    assert lockfile.entries(text, 6) == [["tool", "2.1+ds", name, sha256, "8", f"pool/main/t/tool/{name}"]]


def test_a_native_source_is_its_own_upstream(archive: Any, tmp_path: Path) -> None:
    archive.add_source("tool", "3.1", {"tool_3.1.dsc": b"dsc", "tool_3.1.tar.xz": b"all"})
    archive.publish()
    text = lock_debian_source({"package": "tool", "suite": "trixie"}, tmp_path / "work", archive.etc)
    assert lockfile.entries(text, 6)[0][:3] == ["tool", "3.1", "tool_3.1.tar.xz"]


def test_a_source_without_upstream_is_an_error(archive: Any, tmp_path: Path) -> None:
    archive.add_source("tool", "3.1-1", {"tool_3.1-1.dsc": b"dsc", "tool_3.1-1.debian.tar.xz": b"debian"})
    archive.publish()
    with pytest.raises(FetchError, match="no upstream archive"):
        lock_debian_source({"package": "tool", "suite": "trixie"}, tmp_path / "work", archive.etc)
