"""Target patterns, as in Bazel: ``//...``, ``//p/...``, ``//p:all``, ``//p:*``, labels, and ``-`` before
any of them to take targets away again. Relative ones (``...``, ``q:x``, ``:x``) belong to a package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hermetic.errors import CommandLineError, LabelError
from hermetic.label import Label, check_package

ALL = ("all", "*", "all-targets")  # names that mean every target of a package


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
    if body.startswith("///") or (body.startswith("/") and not body.startswith("//")):
        raise LabelError(f"{body!r} is not a pattern", hint=f"write //{body.lstrip('/')}")
    path, colon, name = body.partition(":")
    if path == "..." or path.endswith("/..."):
        if colon and name not in ALL:
            raise LabelError(f"{body!r}: after ... only :all may follow")
        top = path.removesuffix("...")
        return Pattern(_package(body, top if top == "//" else top.removesuffix("/"), package), None, True, negative)
    if colon and name in ALL:
        return Pattern(_package(body, path, package), None, False, negative)
    if colon and name == "...":
        raise LabelError(f"{body!r} is not a pattern", hint=f"write {path}/... for everything below a package")
    if colon and path and not path.startswith(("//", "@")):
        return Pattern(_package(body, path, package), Label.parse(f":{name}", "").name, False, negative)
    if not body.startswith("//") and not colon and package is not None and "/" in body:
        raise LabelError(f"{body!r} is neither absolute nor in this package", hint=f"write //{body}")
    label = Label.parse(body, package)
    return Pattern(label.package, label.name, False, negative)


def _package(body: str, path: str, package: str | None) -> str:
    """The package that the ``path`` of a pattern names."""
    if path.startswith("@"):
        raise LabelError(f"{body!r}: labels of other repositories do not exist here")
    if not path:
        return package or ""
    if path.startswith("//"):
        path = path.removeprefix("//")
    elif package:
        path = f"{package}/{path}"
    check_package(body, path)
    return path


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
