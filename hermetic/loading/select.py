"""``select()``: an attribute value chosen by settings, as a value that can be added to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermetic.errors import BuildFileError, Location


@dataclass(frozen=True, eq=False)
class Select:
    """``branches``: condition ("name=value", several joined by commas, or "default") → value."""

    branches: Mapping[str, Any]
    location: Location
    no_match_error: str = ""

    def __add__(self, other: Any) -> SelectList:
        return SelectList((self,)).__add__(other)

    def __bool__(self) -> bool:
        raise _undecided("a condition")

    def __format__(self, spec: str) -> str:
        raise _undecided("a part of a text")

    def __radd__(self, other: Any) -> SelectList:
        return SelectList((other, self))


@dataclass(frozen=True, eq=False)
class SelectList:
    """Values and selects, to be added up once settings are known."""

    parts: tuple[Any, ...]

    def __add__(self, other: Any) -> SelectList:
        more = other.parts if isinstance(other, SelectList) else (other,)
        return SelectList((*self.parts, *more))

    def __radd__(self, other: Any) -> SelectList:
        return SelectList((other, *self.parts))

    def __bool__(self) -> bool:
        raise _undecided("a condition")

    def __format__(self, spec: str) -> str:
        raise _undecided("a part of a text")


def _undecided(use: str) -> BuildFileError:
    return BuildFileError(
        f"a select() cannot be {use}: its value is not known while BUILD files are read",
        hint="put the whole value into the branches, or add to it with +",
    )


def make_select(branches: Any, location: Location, no_match_error: str = "") -> Select:
    if not isinstance(branches, dict) or not branches:
        raise BuildFileError("select() takes a dict of conditions and values", location=location)
    for key in branches:
        if not isinstance(key, str):
            raise BuildFileError(f"select key {key!r} is not a string", location=location)
    return Select(dict(branches), location, no_match_error)
