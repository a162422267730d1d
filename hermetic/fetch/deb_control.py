"""Control files of Debian packages: paragraphs, names, versions, relations.

Formats: deb-control(5), deb-version(7), and Debian Policy chapters 5 and 7. Names are checked, because
they become file names in the package database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from hermetic.errors import ArchiveError

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII)
_ARCH = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_VERSION = re.compile(r"(?:[0-9]+:)?[0-9A-Za-z][0-9A-Za-z.+~:-]*", re.ASCII)
_RELATION = re.compile(r"([a-z0-9][a-z0-9+.-]+)(?::[a-z0-9-]+)?\s*(?:\(\s*(<<|<=|=|>=|>>)\s*([^\s)]+)\s*\))?")
_PIECES = re.compile(r"[0-9]+|[^0-9]+")


def parse_control(text: str) -> dict[str, str]:
    """The fields of one control paragraph; continuation lines stay as they are. ArchiveError for
    anything else than a paragraph."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.strip("\n").split("\n"):
        if line[:1] in (" ", "\t") and name:
            fields[name] += f"\n{line}"
            continue
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[!-9;-~]+", name) or name in fields:
            raise ArchiveError(f"a package's control file has the unusable line {line[:120]!r}")
        fields[name] = value.strip()
    return fields


def check_package(fields: Mapping[str, str]) -> None:
    """Refuse a package whose name, version or architecture could not be Debian's."""
    for field, form in (("Package", _NAME), ("Version", _VERSION), ("Architecture", _ARCH)):
        value = fields.get(field)
        if value is None or not form.fullmatch(value):
            raise ArchiveError(f"a package's control file has no usable {field}: {value!r}")


def relations(field: str) -> Iterator[tuple[str, str, str]]:
    """(package, operator, version) of a field without alternatives, such as Replaces; the operator is
    "" where any version is meant."""
    for part in field.split(","):
        if match := _RELATION.match(part.strip()):
            yield match[1], match[2] or "", match[3] or ""


def satisfies(version: str, operator: str, bound: str) -> bool:
    """Whether ``version`` stands in the relation to ``bound``; "" is always satisfied."""
    order = compare(version, bound)
    return {"": True, "<<": order < 0, "<=": order <= 0, "=": order == 0, ">=": order >= 0, ">>": order > 0}[operator]


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as dpkg orders versions (deb-version(7), "Sorting algorithm")."""
    for one, other in zip(_split(left), _split(right), strict=True):
        if order := _compare_part(one, other):
            return order
    return 0


def _split(version: str) -> tuple[str, str, str]:
    """Epoch, upstream version, revision; what is missing counts as 0."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "0")


def _compare_part(left: str, right: str) -> int:
    """Runs of other characters and of digits in turn, beginning with other characters."""
    for one, other in zip_longest(_runs(left), _runs(right), fillvalue=("", 0)):
        if one[0] != other[0]:
            return _compare_text(one[0], other[0])
        if one[1] != other[1]:
            return -1 if one[1] < other[1] else 1
    return 0


def _runs(part: str) -> list[tuple[str, int]]:
    pieces = _PIECES.findall(part)
    if pieces and pieces[0][0] in "0123456789":
        pieces.insert(0, "")
    if len(pieces) % 2:
        pieces.append("0")
    return [(pieces[n], int(pieces[n + 1])) for n in range(0, len(pieces), 2)]


def _compare_text(left: str, right: str) -> int:
    """``~`` sorts before the end, the end before letters, letters before everything else."""
    for one, other in zip_longest(map(_order, left), map(_order, right), fillvalue=0):
        if one != other:
            return -1 if one < other else 1
    return 0


def _order(char: str) -> int:
    return -1 if char == "~" else ord(char) if char.isalpha() else ord(char) + 256
