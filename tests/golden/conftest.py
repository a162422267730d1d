"""Golden files: compared as text; HB_UPDATE_GOLDEN=1 writes them; files nobody wants are an error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest


class Golden:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, name: str, value: Any) -> None:
        path = self.folder / f"{name}.json"
        text = json.dumps(value, indent=1, sort_keys=True) + "\n"
        if os.environ.get("HB_UPDATE_GOLDEN"):
            path.write_text(text)
        assert path.exists(), f"{path.name} is missing: HB_UPDATE_GOLDEN=1 writes it"
        assert path.read_text() == text, f"{path.name} changed: if on purpose, HB_UPDATE_GOLDEN=1 and say why"

    def check_no_others(self, names: list[str]) -> None:
        assert sorted(path.stem for path in self.folder.glob("*.json")) == sorted(names)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(Path(request.path).parent)
