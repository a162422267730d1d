"""Whether a page about the build is wanted. Imports little: every build asks, also one with nothing to do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

FLAG = "--summary"
VARIABLE = "GITHUB_STEP_SUMMARY"


def asked(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a command line may want a page; the parser has the last word."""
    return any(one == FLAG or one.startswith(f"{FLAG}=") for one in command) or bool(collected(environment))


def collected(environment: Mapping[str, str]) -> str:
    """The file in which GitHub Actions collects pages, or ""."""
    return environment.get(VARIABLE, "") if on_github(environment) else ""


def on_github(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get("GITHUB_ACTIONS") == "true"
