"""The stack's locks of sources can be made again, byte for byte: a published source does not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hermetic.fetch.lock import resolve

LOCKS = Path(__file__).resolve().parents[3] / "container" / "wheels" / "locks"


@pytest.mark.network
@pytest.mark.parametrize(
    ("kind", "spec", "name"),
    [
        ("python_sdist", {"requirement": "orjson==3.11.5"}, "orjson.lock"),
        ("python_sdist", {"requirement": "safetensors==0.7.0"}, "safetensors.lock"),
        ("cargo", {"sdist": "safetensors==0.7.0", "cargo_lock": ""}, "safetensors-crates.lock"),
    ],
)
def test_the_stacks_locks_can_be_made_again(kind: str, spec: dict[str, Any], name: str, tmp_path: Path) -> None:
    assert resolve(kind, spec, tmp_path) == (LOCKS / name).read_text(encoding="utf-8")
