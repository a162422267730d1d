"""Target patterns, as in Bazel: ``//...``, ``//p/...``, ``//p:all``, ``//p:*``, labels, and ``-`` before
any of them to take targets away again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hermetic.errors import CommandLineError, LabelError
from hermetic.label import Label


@dataclass(frozen=True, slots=True)
class Pattern:
    """``package`` and what of it: one ``name``, all of it (name None), or everything below it too
    (``recursive``)."""

    package: str
    name: str | None
    recursive: bool = False
    negative: bool = False

    @staticmethod
    def parse(text: str, package: str | None = None) -> Pattern:
        """Parse a pattern; ``package`` is what relative ones belong to. Raises CommandLineError."""
        negative = text.startswith("-")
        body = text.removeprefix("-")
        try:
            return _parse(body, package, negative)
        except LabelError as error:
            raise CommandLineError(error.message, hint=error.hint) from None

    def matches(self, label: Label) -> bool:
        if self.name is not None:
            return label == Label(self.package, self.name)
        if self.recursive:
            return not self.package or label.package == self.package or label.package.startswith(f"{self.package}/")
        return label.package == self.package


def _parse(body: str, package: str | None, negative: bool) -> Pattern:
    if not body:
        raise LabelError("empty target pattern", hint="write //pkg:name, //pkg:all or //...")
    path, colon, name = body.partition(":")
    for suffix in ("/...", "..."):
        if path == suffix.lstrip("/") or path.endswith("/..."):
            if colon and name not in ("all", "*"):
                raise LabelError(f"{body!r}: after ... only :all may follow")
            return Pattern(_package(path.removesuffix("...").rstrip("/"), package), None, True, negative)
    if colon and name in ("all", "*"):
        return Pattern(_package(path, package), None, False, negative)
    if not body.startswith("//") and not colon and package is not None and "/" in body:
        raise LabelError(f"{body!r} is neither absolute nor in this package", hint=f"write //{body}")
    label = Label.parse(body, package)
    return Pattern(label.package, label.name, False, negative)


def _package(path: str, package: str | None) -> str:
    """The package a pattern's path names; checked by parsing a label in it."""
    if path in ("", "//", "/"):
        if path or package is None:
            return ""
        return package
    if not path.startswith("//"):
        path = f"//{package}/{path}" if package else f"//{path}"
    return Label.parse(f"{path}:x").package


@dataclass(frozen=True, slots=True)
class PatternSet:
    """Patterns in the order they were given: a later one adds to, or takes from, what came before."""

    patterns: tuple[Pattern, ...]

    @staticmethod
    def parse(texts: Iterable[str], package: str | None = None) -> PatternSet:
        return PatternSet(tuple(Pattern.parse(text, package) for text in texts))

    def matches(self, label: Label) -> bool:
        found = False
        for pattern in self.patterns:
            if pattern.matches(label):
                found = not pattern.negative
        return found
