"""Labels: the names of targets, in Bazel's grammar.

``//pkg/path:name``; ``//pkg/path`` means ``//pkg/path:path``; ``:name`` and ``name`` are relative
to a package. Labels are values: parsing checks everything, so a Label object is always valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hermetic.errors import LabelError

_PACKAGE = re.compile(r"[A-Za-z0-9 !\"#$%&'()*+,\-.;<=>?@\[\]^_`{|}~/]*", re.ASCII)
_TARGET = re.compile(r"[A-Za-z0-9 !\"#$%&'()*+,\-.;<=>?@\[\]^_`{|}~/]+", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Label:
    """``package``: path of the package without leading slashes, "" for the root. ``name``: target."""

    package: str
    name: str

    def __str__(self) -> str:
        return f"//{self.package}:{self.name}"

    @property
    def short(self) -> str:
        """``//a/b`` when the target has its package's last name, else the full form."""
        return f"//{self.package}" if self.package.rpartition("/")[2] == self.name else str(self)

    @staticmethod
    def parse(text: str, package: str | None = None) -> Label:
        """Parse a label; ``package`` is what relative labels belong to (None: only absolute)."""
        if text.startswith("//"):
            path, colon, name = text[2:].partition(":")
            if not colon:
                name = path.rpartition("/")[2]
                if not path:
                    raise LabelError(f"{text!r} names no target", hint="write //:name for a root target")
        elif text.startswith("@"):
            raise LabelError(f"{text!r}: labels of other repositories do not exist here")
        else:
            if package is None:
                raise LabelError(f"{text!r} is relative, but there is no package here", hint=f"write {_absolute(text)}")
            path, name = package, text.removeprefix(":")
        check_package(text, path)
        _check(text, name, _TARGET, "target name")
        return Label(path, name)


def check_package(text: str, path: str) -> None:
    """Refuse a ``path`` that cannot be a package's; ``text`` is what the user wrote. Raises LabelError."""
    _check(text, path, _PACKAGE, "package name", empty_ok=True)


def _absolute(text: str) -> str:
    """What a relative label may have meant, for hints."""
    text = text.lstrip("/")
    return f"//{text}" if ":" in text.lstrip(":") else f"//pkg:{text.removeprefix(':')}"


def _check(text: str, part: str, allowed: re.Pattern[str], what: str, empty_ok: bool = False) -> None:
    if not part:
        if empty_ok:
            return
        raise LabelError(f"{text!r}: empty {what}")
    if len(part) > 1000:
        raise LabelError(f"label too long ({len(part)} characters): {text[:60]!r}…")
    text = text if len(text) <= 200 else f"{text[:200]}…"
    if not allowed.fullmatch(part):
        bad = next(c for c in part if not allowed.fullmatch(c))
        raise LabelError(f"{text!r}: {what} may not contain {bad!r}")
    if part.startswith("/") or part.endswith("/"):
        raise LabelError(f"{text!r}: {what} may not begin or end with '/'")
    for piece in part.split("/"):
        if not piece.strip("."):  # as in Bazel, "..." is no folder either: it means everything below
            raise LabelError(f"{text!r}: {what} may not contain {piece or '//'!r} as a path component")
