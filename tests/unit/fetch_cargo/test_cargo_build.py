"""cargo itself builds from vendored crates, without a network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hermetic.action import Kind
from hermetic.fetch.cargo_lock import crates
from hermetic.fetch.cargo_vendor import vendor_crates
from hermetic.store.disk import DiskStore
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.stage import DiskStage


@pytest.mark.skipif(not shutil.which("cargo"), reason="no cargo on this machine")
def test_cargo_builds_offline_from_the_folder(store: DiskStore, make_crate: Any, tmp_path: Path) -> None:
    """cargo itself, without a network: it resolves, checks the lock's checksums and builds."""
    made = {"tool-1.0.0": make_crate("tool", "1.0.0", deps={"deep": "0.3"}), "deep-0.3.1": make_crate("deep", "0.3.1")}
    inputs = {f"/crates/{name}.crate": Resolved(Kind.BLOB, store.put(data)) for name, data in made.items()}
    root = vendor_crates({}, inputs, Workbench(store, tmp_path))["out"].digest
    vendored = DiskStage(store).tree(root)
    app = tmp_path / "app"
    (app / "src").mkdir(parents=True)
    (app / "src/main.rs").write_text('fn main() { println!("{}", tool::name()); }\n')
    (app / "Cargo.toml").write_text(
        '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ntool = "1"\n'
    )
    (app / ".cargo").mkdir()
    (app / ".cargo/config.toml").write_text(
        f'[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "{vendored}"\n'
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "CARGO_HOME": str(tmp_path / "home"), "CARGO_NET_OFFLINE": "true"}
        return subprocess.run(["cargo", *words], cwd=app, env=env, capture_output=True, text=True, check=False)

    assert run("generate-lockfile").returncode == 0
    lock = (app / "Cargo.lock").read_text()
    pins = {words[0]: words[2] for words in map(str.split, crates(lock))}
    assert pins == {name.partition("-")[0]: hashlib.sha256(data).hexdigest() for name, data in made.items()}
    done = run("run", "--quiet", "--locked")
    assert done.stdout == "tool 1.0.0\n", done.stderr
    (app / "Cargo.lock").write_text(lock.replace(pins["deep"], "0" * 64))
    changed = run("run", "--quiet", "--locked")
    assert changed.returncode != 0 and "checksum for `deep v0.3.1` changed" in changed.stderr
