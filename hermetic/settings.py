"""Settings, configurations and platforms: what a build is told, as values.

A setting is a name with a type, allowed values and a default. A configuration is a frozen set of
settings, always in the order of names, so that equal configurations have equal texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from hermetic.errors import Location, SettingError, did_you_mean

Value: TypeAlias = str | bool | int
_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Setting:
    """``values`` empty means any value of the default's type; only texts have lists of values."""

    name: str
    default: Value
    values: tuple[str, ...] = ()
    doc: str = ""
    location: Location | None = None

    def parse(self, text: str) -> Value:
        """The value that ``text`` (from a command line or a select key) means."""
        if isinstance(self.default, bool):
            if text.lower() in ("true", "1", "yes", "on"):
                return True
            if text.lower() in ("false", "0", "no", "off"):
                return False
            raise SettingError(f"setting {self.name!r} is true or false, not {text!r}")
        if isinstance(self.default, int):
            if not _NUMBER.fullmatch(text):
                raise SettingError(f"setting {self.name!r} is a number, not {text[:80]!r}")
            return int(text)
        if self.values and text not in self.values:
            raise SettingError(
                f"setting {self.name!r} has no value {text!r}",
                hint=did_you_mean(text, self.values) or f"it has {', '.join(self.values)}",
            )
        return text


@dataclass(frozen=True, slots=True)
class Platform:
    """Where something runs: ``arch`` by Debian's names, and the settings that being it implies."""

    name: str
    os: str
    arch: str
    settings: tuple[tuple[str, str], ...] = ()


def text_of(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings by name. Hashable, ordered, comparable."""

    items: tuple[tuple[str, Value], ...] = field(default=())

    @staticmethod
    def of(values: Mapping[str, Value]) -> Configuration:
        return Configuration(tuple(sorted(values.items())))

    def __getitem__(self, name: str) -> Value:
        return dict(self.items)[name]

    def get(self, name: str) -> Value | None:
        return dict(self.items).get(name)

    def restrict(self, names: Iterable[str]) -> Configuration:
        wanted = set(names)
        return Configuration(tuple(item for item in self.items if item[0] in wanted))

    def update(self, changes: Mapping[str, Value]) -> Configuration:
        return Configuration.of({**dict(self.items), **changes})

    def texts(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, text_of(value)) for name, value in self.items)

    def __str__(self) -> str:
        return ",".join(f"{name}={text}" for name, text in self.texts())


def find_setting(settings: Mapping[str, Setting], name: str) -> Setting:
    """The setting called ``name``; SettingError with the nearest one when there is none."""
    try:
        return settings[name]
    except KeyError:
        raise SettingError(
            f"there is no setting {name!r}",
            hint=did_you_mean(name, settings) or f"settings are {', '.join(sorted(settings)) or 'not declared here'}",
        ) from None
