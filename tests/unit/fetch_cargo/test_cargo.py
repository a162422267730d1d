"""Crates: read from a Cargo.lock, fetched from the registry cargo is configured for, vendored for cargo."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.errors import ArchiveError, FetchError
from hermetic.fetch import cargo, lockfile
from hermetic.fetch.cargo_lock import crates, lock_cargo
from hermetic.fetch.cargo_vendor import vendor_crates
from hermetic.fetch.spec import FetchRequest
from hermetic.store.disk import DiskStore
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.stage import DiskStage

needs_cargo = pytest.mark.skipif(not shutil.which("cargo"), reason="no cargo on this machine")
PIN = "ab" * 32
REGISTRY = "registry+https://index.example.org/"


def package(name: str, version: str = "1.0.0", source: str | None = REGISTRY, checksum: str | None = PIN) -> str:
    text = f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
    text += f'source = "{source}"\n' if source else ""
    return text + (f'checksum = "{checksum}"\n' if checksum else "")


# --- locks ------------------------------------------------------------------------------------------


def test_a_lock_has_every_crate_of_a_registry(tmp_path: Path) -> None:
    text = "version = 4\n" + package("zlib") + package("mine", source=None, checksum=None)
    text += package("a-b_c", "0.1.0-rc.1+x", "sparse+https://index.example.org/")
    spec = {"sdist": "", "cargo_lock": text}
    made = lock_cargo(spec, tmp_path)
    assert made.startswith(f"# hb lock cargo {lockfile.spec_digest(spec)}\n")
    assert lockfile.entries(made, 3) == [["a-b_c", "0.1.0-rc.1+x", PIN], ["zlib", "1.0.0", PIN]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (package("x", source="git+https://git.example.org/x?rev=1#1", checksum=None), "x 1.0.0 comes from git"),
        (package("x", checksum=None), "x 1.0.0 has no checksum"),
        ("[[package]\n", "not a Cargo.lock"),
        ("\0", "not a Cargo.lock"),
    ],
)
def test_what_nothing_pins_is_refused(text: str, message: str) -> None:
    with pytest.raises(FetchError, match=message):
        crates(package("good") + text)


def test_an_empty_lock_pins_nothing() -> None:
    assert crates("version = 4\n") == []


# --- fetching ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("https://r.example.org/api", "https://r.example.org/api/Ab-cde/1.2.3/download"),
        ("https://r.example.org/api/", "https://r.example.org/api/Ab-cde/1.2.3/download"),
        ("https://r.example.org/{crate}-{version}.crate", "https://r.example.org/Ab-cde-1.2.3.crate"),
        ("https://r.example.org/{prefix}/{crate}/{version}", "https://r.example.org/Ab/-c/Ab-cde/1.2.3"),
        ("https://r.example.org/{lowerprefix}/{crate}", "https://r.example.org/ab/-c/Ab-cde"),
        ("https://r.example.org/{sha256-checksum}", f"https://r.example.org/{PIN}"),
    ],
)
def test_templates(template: str, url: str) -> None:
    assert cargo.crate_url(template, "Ab-cde", "1.2.3", PIN) == url


@pytest.mark.parametrize(("name", "folder"), [("a", "1"), ("ab", "2"), ("abc", "3/a"), ("abcd", "ab/cd"), ("abcde", "ab/cd")])
def test_prefixes(name: str, folder: str) -> None:
    assert cargo.prefix(name) == folder


def request(name: str, version: str, sha256: str) -> FetchRequest:
    return FetchRequest("//p:crates", {"sha256": sha256}, {"name": name, "version": version})


@needs_cargo
def test_crates_come_from_the_configured_registry(registry: Any, tmp_path: Path) -> None:
    wanted = [request(f"crate{n}", "1.0.0", registry.add(f"crate{n}", "1.0.0")) for n in range(10)]
    (tmp_path / "work").mkdir()
    replies = cargo.fetch(wanted, tmp_path / "work")
    assert [reply.error for reply in replies] == [None] * 10
    found = [hashlib.sha256(reply.path.read_bytes()).hexdigest() for reply in replies if reply.path]
    assert found == [one.params["sha256"] for one in wanted]


@needs_cargo
def test_a_registry_with_another_template(registry: Any, tmp_path: Path) -> None:
    registry.dl = f"{registry.url}/api"
    sha256 = registry.add("tool", "1.0.0", "/api/tool/1.0.0/download")
    (tmp_path / "work").mkdir()
    (reply,) = cargo.fetch([request("tool", "1.0.0", sha256)], tmp_path / "work")
    assert reply.error is None


@needs_cargo
def test_one_crate_that_is_gone_does_not_lose_the_others(registry: Any, tmp_path: Path) -> None:
    good = request("good", "1.0.0", registry.add("good", "1.0.0"))
    changed = request("changed", "1.0.0", PIN)
    registry.add("changed", "1.0.0")
    (tmp_path / "work").mkdir()
    # the first one is unknown to the registry: cargo still says where crates are
    gone, there, other = cargo.fetch([request("gone", "9.0.0", PIN), good, changed], tmp_path / "work")
    assert there.error is None
    assert "the crate gone 9.0.0" in str(gone.error) and "answers 404" in str(gone.error)
    assert "the crate changed 1.0.0" in str(other.error) and f"expected {PIN}" in str(other.error)


@needs_cargo
def test_a_registry_that_is_not_there(registry: Any, tmp_path: Path) -> None:
    registry.close()
    (tmp_path / "work").mkdir()
    one, other = cargo.fetch([request("a", "1.0.0", PIN), request("b", "1.0.0", PIN)], tmp_path / "work")
    assert "cargo cannot reach its registry" in str(one.error) and str(other.error) == str(one.error)


def test_without_cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (reply,) = cargo.fetch([request("a", "1.0.0", PIN)], tmp_path)
    assert "cargo is not here" in str(reply.error)


# --- vendoring --------------------------------------------------------------------------------------


def vendor(store: Any, made: dict[str, bytes]) -> Digest:
    inputs = {f"/crates/{name}.crate": Resolved(Kind.BLOB, store.put(data)) for name, data in made.items()}
    return vendor_crates({}, inputs, Workbench(store, Path("/nowhere"), Path("/nowhere")))["out"].digest


def test_the_folder_is_as_cargo_wants_it(store: DiskStore, make_crate: Any) -> None:
    data = make_crate("tool", "1.0.0", {".cargo-checksum.json": "{}"})
    staged = DiskStage(store).tree(vendor(store, {"tool-1.0.0": data}))
    assert sorted(os.listdir(staged / "tool-1.0.0")) == [".cargo-checksum.json", "Cargo.toml", "src"]
    checksum = json.loads((staged / "tool-1.0.0/.cargo-checksum.json").read_text())
    assert checksum == {"files": {}, "package": hashlib.sha256(data).hexdigest()}


def test_the_order_of_crates_does_not_matter(store: DiskStore, make_crate: Any) -> None:
    made = {f"t{n}-1.0.0": make_crate(f"t{n}", "1.0.0") for n in range(3)}
    assert vendor(store, made) == vendor(store, dict(reversed(made.items())))


@pytest.mark.parametrize("inside", ["other-1.0.0", "../tool-1.0.0", "/tool-1.0.0"])
def test_a_crate_that_is_not_what_its_name_says(store: DiskStore, make_crate: Any, inside: str) -> None:
    name, _, version = inside.rpartition("-")
    with pytest.raises(ArchiveError):
        vendor(store, {"tool-1.0.0": make_crate(name, version)})


def project(top: Path, vendored: Path, checksum: str) -> Path:
    (top / "src").mkdir(parents=True)
    (top / "src/main.rs").write_text('fn main() { println!("{}", tool::name()); }\n')
    (top / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ntool = "1"\n')
    index = "registry+https://github.com/rust-lang/crates.io-index".replace("github.com", "index.example.org")
    (top / "Cargo.lock").write_text(
        'version = 3\n[[package]]\nname = "app"\nversion = "0.1.0"\ndependencies = ["tool"]\n' + package("tool", "1.0.0", index, checksum)
    )
    (top / ".cargo").mkdir()
    (top / ".cargo/config.toml").write_text(
        f'[source.own]\nregistry = "https://index.example.org/"\nreplace-with = "vendored"\n'
        f'[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "{vendored}"\n[net]\noffline = true\n'
    )
    return top
