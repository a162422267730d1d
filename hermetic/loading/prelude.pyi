# What every BUILD.py has without importing it, for editors and type checkers.
#
# Editors that read `__builtins__.pyi` at the top of a project (pyright and what is built on it) take
# these names from there. For mypy, `tools/check-build-files` puts them in front of each file.

from typing import Any

def select(branches: dict[str, Any], no_match_error: str = "") -> Any:
    """A value chosen by settings: {"arch=amd64": …, "arch=arm64,cuda=13": …, "default": …}."""

def glob(include: list[str], exclude: list[str] | None = None, allow_empty: bool = False) -> list[str]:
    """Files of this package, sorted; `**` goes into folders, but never into another package."""

def package(default_visibility: list[str]) -> None:
    """Who may use this package's targets unless they say otherwise. Comes before the targets."""

def setting(name: str, default: str | bool | int, values: list[str] | None = None, doc: str = "") -> None:
    """A setting of the workspace. In the root package only."""

def platform(name: str, os: str, arch: str, settings: dict[str, str] | None = None) -> None:
    """A platform, and the settings that being it implies. In the root package only."""

def toolchain(name: str, kind: str, exec: str, target: str, impl: str) -> None:
    """`impl` is the toolchain of `kind` that runs on platform `exec` and serves platform `target`."""

def register_toolchains(*patterns: str) -> None:
    """Toolchains that rules may find. In the root package only."""

def fail(*words: object) -> None:
    """Stop with a message."""
