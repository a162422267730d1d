"""Vendored crates are a directory source that cargo accepts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.errors import ArchiveError
from hermetic.fetch.cargo_vendor import vendor_crates
from hermetic.store.disk import DiskStore
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.stage import DiskStage


def vendor(crates: Mapping[str, bytes], store: DiskStore, tmp_path: Path) -> Digest:
    inputs = {f"/crates/{name}.crate": Resolved(Kind.BLOB, store.put(data)) for name, data in crates.items()}
    return vendor_crates({}, inputs, Workbench(store, tmp_path))["out"].digest


def test_each_crate_has_a_folder_and_its_checksum(store: DiskStore, tmp_path: Path, make_crate: Any) -> None:
    crates = {
        "one-1.0.0": make_crate("one", "1.0.0", {"build.rs": "fn main() {}"}),
        "two-0.1.0+b": make_crate("two", "0.1.0+b"),
    }
    root = vendor(crates, store, tmp_path)
    files = {path: node for path, node in tree.walk(root, store.read) if isinstance(node, tree.File)}
    assert sorted(files) == [
        "one-1.0.0/.cargo-checksum.json",
        "one-1.0.0/Cargo.toml",
        "one-1.0.0/build.rs",
        "one-1.0.0/src/lib.rs",
        "two-0.1.0+b/.cargo-checksum.json",
        "two-0.1.0+b/Cargo.toml",
        "two-0.1.0+b/src/lib.rs",
    ]
    checksum = json.loads(store.read(files["one-1.0.0/.cargo-checksum.json"].digest))
    assert checksum == {"files": {}, "package": Digest.of(crates["one-1.0.0"]).hash}


def test_the_order_of_the_crates_does_not_matter(store: DiskStore, tmp_path: Path, make_crate: Any) -> None:
    crates = {f"c{number}-1.0.0": make_crate(f"c{number}", "1.0.0") for number in range(4)}
    backwards = dict(reversed(crates.items()))
    assert vendor(crates, store, tmp_path) == vendor(backwards, store, tmp_path)


def test_a_crates_own_checksum_file_does_not_count(store: DiskStore, tmp_path: Path, make_crate: Any) -> None:
    data = make_crate("sly", "1.0.0", {".cargo-checksum.json": '{"files":{},"package":"forged"}'})
    root = vendor({"sly-1.0.0": data}, store, tmp_path)
    node = tree.lookup(root, "sly-1.0.0/.cargo-checksum.json", store.read)
    assert isinstance(node, tree.File)
    assert json.loads(store.read(node.digest))["package"] == Digest.of(data).hash


def test_a_crate_that_is_another_one_is_refused(store: DiskStore, tmp_path: Path, make_crate: Any) -> None:
    with pytest.raises(ArchiveError, match=r"good-1\.0\.0"):
        vendor({"good-1.0.0": make_crate("good", "1.0.0", folder="evil-1.0.0")}, store, tmp_path)


def test_a_crate_cannot_write_into_another(store: DiskStore, tmp_path: Path, make_crate: Any) -> None:
    with pytest.raises(ArchiveError):
        vendor({"bad-1.0.0": make_crate("bad", "1.0.0", {"../good-1.0.0/src/lib.rs": "evil"})}, store, tmp_path)


@pytest.mark.skipif(not shutil.which("cargo"), reason="no cargo on this machine")
@pytest.mark.parametrize("tampered", [False, True])
def test_cargo_resolves_offline_from_it(store: DiskStore, tmp_path: Path, make_crate: Any, tampered: bool) -> None:
    data = make_crate("leaf", "1.2.3")
    root = DiskStage(store).tree(vendor({"leaf-1.2.3": data}, store, tmp_path))
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / ".cargo").mkdir()
    (project / "src/lib.rs").touch()
    (project / "Cargo.toml").write_text(
        '[package]\nname = "top"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nleaf = "1"\n'
    )
    pin = "0" * 64 if tampered else Digest.of(data).hash
    config = ["[source.crates-io]", 'replace-with = "v"', "[source.v]", f'directory = "{root}"']
    (project / ".cargo/config.toml").write_text("\n".join(config) + "\n")
    environ = {**os.environ, "CARGO_HOME": str(tmp_path / "home"), "CARGO_NET_OFFLINE": "true"}

    def cargo(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["cargo", *words], cwd=project, env=environ, capture_output=True, text=True, check=False)

    made = cargo("generate-lockfile")
    assert made.returncode == 0, made.stderr
    lock = project / "Cargo.lock"
    assert Digest.of(data).hash in lock.read_text(), "cargo takes the checksum from the vendored crate"
    lock.write_text(lock.read_text().replace(Digest.of(data).hash, pin))
    done = cargo("metadata", "--format-version=1", "--locked", "--offline")
    if tampered:
        assert done.returncode and "checksum" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert {one["name"] for one in json.loads(done.stdout)["packages"]} == {"top", "leaf"}
