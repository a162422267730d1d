"""Where the values of secrets come from, and when they are read.

Guarantees: a value is read when the first action needs it and never before, at most once in a command, and is
kept in memory only. Which variable or file holds it is said by the person or the job that calls hb
(``hermetic.cli.secrets``), never by the workspace: a pull request can change every file of that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hermetic.errors import SecretError, did_you_mean
from hermetic.secret import LONGEST, Secret, checked


@dataclass(frozen=True, slots=True)
class Source:
    """``kind``: env or file. ``place``: the variable's name, or the file's path. ``said``: by what it is
    given, for people. ``hosts``: where the value may go over a network; empty for anywhere."""

    kind: str
    place: str
    said: str = ""
    hosts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"


@dataclass(slots=True)
class Vault:
    """The secrets of a command, by name. Thread-safe."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    environ: Mapping[bytes, bytes] = field(default_factory=lambda: os.environb, repr=False)
    _taken: dict[str, Secret] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Those that nobody gave. Reads no value: a pipe can be read only once."""
        return [name for name in names if not self._is_there(name)]

    def check(self, names: Iterable[str]) -> None:
        """Raises SecretError when one is not given."""
        for name in self.lacking(names):
            raise self.missing(name)

    def take(self, names: Iterable[str]) -> tuple[Secret, ...]:
        """The secrets. Raises SecretError for one that is not given or whose value is none."""
        with self._lock:
            for name in names:
                if name not in self._taken:
                    self._taken[name] = self._read(name)
            return tuple(self._taken[name] for name in names)

    def missing(self, name: str) -> SecretError:
        """Why a secret is not given, and how to give it."""
        source = self.sources.get(name)
        if source is not None:
            what = "variable" if source.kind == "env" else "file"
            message = f"the secret {name} is not given: there is no {what} {source.place}"
            return SecretError(message, hint=f"{source.said} says so; mend it there, or set the {what}")
        ways = f"--secret {name}=env:VARIABLE or --secret {name}=file:PATH, or set HB_SECRET_{name}"
        return SecretError(
            f"the secret {name} is not given", hint=did_you_mean(name, self.sources) or f"give it: {ways}"
        )

    def _is_there(self, name: str) -> bool:
        source = self.sources.get(name)
        if source is None:
            return False
        return os.fsencode(source.place) in self.environ if source.kind == "env" else os.path.exists(source.place)

    def _read(self, name: str) -> Secret:
        if not self._is_there(name):
            raise self.missing(name)
        source = self.sources[name]
        if source.kind == "env":
            value = self.environ[os.fsencode(source.place)]
        else:
            try:
                with Path(source.place).open("rb") as stream:
                    value = stream.read(LONGEST + 1)
            except OSError as error:
                raise SecretError(
                    f"the file of the secret {name} cannot be read: {error.strerror}", hint=f"look at {source.place}"
                ) from None
        return checked(Secret(name, value, source.hosts))
