"""Selects resolved: the most specific branch whose conditions hold, as in Bazel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hermetic.errors import BuildFileError, Location, SettingError, did_you_mean
from hermetic.loading.select import Select, SelectList
from hermetic.settings import Setting, Value, find_setting

Read = Callable[[str], Value]  # a setting's value; asking makes it part of the configuration


def resolve(value: Any, settings: Mapping[str, Setting], read: Read, location: Location) -> Any:
    """``value`` with every select in it replaced by what it chooses."""
    if isinstance(value, Select):
        return resolve(_choose(value, settings, read), settings, read, value.location)
    if isinstance(value, SelectList):
        return _concatenate([resolve(part, settings, read, location) for part in value.parts], location)
    if isinstance(value, list | tuple):
        return [resolve(item, settings, read, location) for item in value]
    if isinstance(value, dict):
        return {key: resolve(item, settings, read, location) for key, item in value.items()}
    return value


def _choose(select: Select, settings: Mapping[str, Setting], read: Read) -> Any:
    matching: dict[str, frozenset[tuple[str, Value]]] = {}
    for key in select.branches:
        if key == "default":
            continue
        conditions = _conditions(key, settings, select.location)
        held = [read(name) == value for name, value in conditions]  # all are read, whatever their order
        if all(held):
            matching[key] = conditions
    best = [key for key, conditions in matching.items() if not any(conditions < other for other in matching.values())]
    if len(best) > 1 and any(select.branches[key] != select.branches[best[0]] for key in best):
        raise BuildFileError(
            f"select() is ambiguous: {best[0]!r} and {best[1]!r} both hold",
            location=select.location,
            hint=f'add a branch for both: "{best[0]},{best[1]}"',
        )
    if best:
        return select.branches[best[0]]
    if "default" in select.branches:
        return select.branches["default"]
    raise BuildFileError(
        select.no_match_error or f"select() has no branch for this configuration; it has {', '.join(select.branches)}",
        location=select.location,
        hint='add a branch, or "default"',
    )


def _conditions(key: str, settings: Mapping[str, Setting], location: Location) -> frozenset[tuple[str, Value]]:
    found = set()
    for condition in key.split(","):
        name, equals, text = condition.strip().partition("=")
        if not equals:
            raise SettingError(
                f"select key {key!r} is not of the form setting=value",
                location=location,
                hint=did_you_mean(name, ("default",)) or 'write "setting=value", or "default" for all others',
            )
        try:
            found.add((name, find_setting(settings, name).parse(text)))
        except SettingError as error:
            raise error.at(location) from None
    return frozenset(found)


def _concatenate(parts: list[Any], location: Location) -> Any:
    result = parts[0]
    for part in parts[1:]:
        if isinstance(result, dict) and isinstance(part, dict):
            result = {**result, **part}
        elif type(result) is type(part) and isinstance(result, list | str | tuple | int):
            result = result + part
        else:
            raise BuildFileError(
                f"cannot add {type(part).__name__} to {type(result).__name__} around a select()", location=location
            )
    return result
