"""Every error a user can meet, in one tree.

    HbError                     base: message, label, location, hint, exit code
    ├── UserError               something the user wrote is wrong
    │   ├── CommandLineError    exit 2: bad flag, bad pattern on the command line
    │   ├── BuildFileError      exit 7: a BUILD.py file is wrong
    │   │   ├── LabelError      a label or pattern does not parse
    │   │   ├── VetError        a construct BUILD.py does not allow
    │   │   ├── AttributeError_ an attribute is unknown or has the wrong type
    │   │   ├── CycleError      targets depend on each other in a circle
    │   │   ├── VisibilityError a target may not be seen from here
    │   │   └── SettingError    an unknown setting, value or select key
    │   ├── QueryError          exit 7: a query that does not parse or cannot be answered
    │   ├── FetchError          exit 1: a pinned source is wrong, stale or unreachable
    │   ├── ArchiveError        exit 1: an archive holds something it must not
    │   ├── SecretError         exit 1: a secret is not given, or its value is none
    │   └── ActionError         exit 1: a build step failed (log, outputs, time, memory)
    │       └── TestFailure     exit 3: a test step failed
    ├── EnvironmentError_       the machine does not allow something; says what to change
    │   ├── SandboxUnavailable  user namespaces, overlayfs or bubblewrap are missing
    │   └── StoreError          disk full, read-only store, store of a newer version
    └── InternalError           exit 37: a defect in hb

An error's text says what is wrong, where (file:line of the BUILD.py call, and the label) and what
to do next. Errors cross the boundary between the loader child and hb as plain dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Location:
    """A line of a file, the path relative to the workspace."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class HbError(Exception):
    """Base of all errors hb reports without a traceback."""

    exit_code: ClassVar[int] = 1
    category: ClassVar[str] = "user"

    def __init__(
        self,
        message: str,
        *,
        location: Location | None = None,
        label: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.label = label
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        text = f"{where}{self.message}"
        if self.label and self.label not in self.message:
            text += f" (in {self.label})"
        if self.hint:
            text += f"\n  → {self.hint}"
        return text

    def at(self, location: Location | None, label: str | None = None) -> HbError:
        """Fill in where the error belongs, keeping what a deeper layer already said."""
        self.location = self.location or location
        self.label = self.label or label
        return self

    def to_dict(self) -> dict[str, Any]:
        """A JSON-safe form that ``from_dict`` turns back into the same error."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "path": self.location.path if self.location else None,
            "line": self.location.line if self.location else 0,
            "label": self.label,
            "hint": self.hint,
        }


class UserError(HbError):
    """Something the user wrote is wrong."""


class CommandLineError(UserError):
    exit_code = 2


class BuildFileError(UserError):
    exit_code = 7


class LabelError(BuildFileError):
    pass


class VetError(BuildFileError):
    pass


class AttributeError_(BuildFileError):
    pass


class CycleError(BuildFileError):
    pass


class VisibilityError(BuildFileError):
    pass


class SettingError(BuildFileError):
    pass


class QueryError(UserError):
    """``column``: where in the query, counted from 1; 0 when that cannot be said."""

    exit_code = 7
    column = 0


class FetchError(UserError):
    pass


class ArchiveError(UserError):
    pass


class SecretError(UserError):
    pass


class ActionError(UserError):
    pass


class TestFailure(ActionError):
    exit_code = 3
    __test__ = False  # not a test class, whatever pytest thinks of its name


class EnvironmentError_(HbError):
    category = "environment"


class SandboxUnavailable(EnvironmentError_):
    pass


class StoreError(EnvironmentError_):
    pass


class InternalError(HbError):
    exit_code = 37
    category = "internal"


def _subclasses(cls: type[HbError]) -> Iterable[type[HbError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _subclasses(sub)


def from_dict(data: dict[str, Any]) -> HbError:
    """Rebuild an error that ``HbError.to_dict`` wrote; an unknown kind becomes InternalError."""
    kinds = {cls.__name__: cls for cls in _subclasses(HbError)}
    cls = kinds.get(str(data.get("kind")), InternalError)
    location = Location(data["path"], int(data.get("line") or 0)) if data.get("path") else None
    return cls(str(data.get("message")), location=location, label=data.get("label"), hint=data.get("hint"))


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint naming the nearest known word, or None when nothing is near."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None
