"""Declarations: what a BUILD.py says, recorded while it is evaluated.

A rule class becomes callable from BUILD.py through ``declare``; the call records a ``Declaration`` in
the package being evaluated and checks nothing but names. Values are looked at when configuring, when
selects can be resolved.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ParamSpec

from hermetic.errors import AttributeError_, BuildFileError, Location, did_you_mean
from hermetic.label import Label
from hermetic.settings import Platform, Setting

P = ParamSpec("P")
_ADDRESS = re.compile(r"<[a-z][^\n]{0,200}? at 0x[0-9a-f]+>")


@dataclass(frozen=True)
class Declaration:
    """One target as written: ``rule`` is the class, ``attrs`` may still hold selects."""

    rule: type
    name: str
    package: str
    attrs: Mapping[str, Any]
    location: Location

    @property
    def label(self) -> Label:
        return Label(self.package, self.name)


@dataclass(frozen=True)
class ToolchainDeclaration:
    """``impl`` serves target platform ``target`` when run on ``exec``."""

    name: str
    kind: str
    exec: str
    target: str
    impl: Label
    location: Location


@dataclass
class PackageDraft:
    """A package while its BUILD.py is evaluated."""

    path: str
    file: str
    declarations: dict[str, Declaration] = field(default_factory=dict)
    toolchains: dict[str, ToolchainDeclaration] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    platforms: dict[str, Platform] = field(default_factory=dict)
    registered: list[str] = field(default_factory=list)
    default_visibility: tuple[str, ...] = ()
    globs: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def claim(self, name: str, location: Location) -> None:
        """Refuse a second target of one name, saying where the first is."""
        first = self.declarations.get(name) or self.toolchains.get(name)
        if first is not None:
            raise BuildFileError(
                f"target {name!r} is declared twice in //{self.path}",
                location=location,
                hint=f"the first is at {first.location}",
            )


CURRENT: ContextVar[PackageDraft | None] = ContextVar("package being evaluated", default=None)


def current(what: str) -> PackageDraft:
    draft = CURRENT.get()
    if draft is None:
        raise BuildFileError(f"{what} can be called from a BUILD.py only", hint="call it in a function BUILD.py calls")
    return draft


def call_site(draft: PackageDraft) -> Location:
    """The line of the package's BUILD.py that is being executed, however deep in macros we are."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == draft.file:
            return Location(draft.file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return Location(draft.file, 0)


def declare(cls: Callable[P, Any]) -> Callable[P, None]:
    """Make a rule class callable from BUILD.py. Type checkers see the class's own signature."""

    def record(*args: Any, **attrs: Any) -> None:
        draft = current(f"{record.__name__}()")
        location = call_site(draft)
        if args:
            hint = 'write name = "…", srcs = […]'
            raise AttributeError_(f"{record.__name__}() takes named attributes only", location=location, hint=hint)
        _record(draft, cls, record.__name__, attrs, location)

    record.__name__ = record.__qualname__ = rule_name(cls)
    record.__doc__ = cls.__doc__
    return record


def rule_name(cls: Any) -> str:
    """``CargoBinary`` → ``cargo_binary``; a trailing ``Rule`` is dropped."""
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__.removesuffix("Rule"))
    return words.lstrip("_")


def _record(draft: PackageDraft, cls: Any, rule: str, attrs: dict[str, Any], location: Location) -> None:
    name = attrs.pop("name", None)
    if not isinstance(name, str):
        raise AttributeError_(f"{rule}() needs a name, a string", location=location, hint='write name = "…"')
    label = Label.parse(f":{name}", draft.path) if name else None
    if label is None:
        raise AttributeError_(f"{rule}() has an empty name", location=location)
    known = getattr(cls, "model_fields", {})
    for attr in attrs:
        if known and attr not in known:
            hint = did_you_mean(attr, known) or f"it has {', '.join(sorted(set(known) - {'name'}))}"
            raise AttributeError_(f"{rule} has no attribute {attr!r}", location=location, label=str(label), hint=hint)
    for attr, field_info in known.items():
        if attr != "name" and attr not in attrs and field_info.is_required():
            raise AttributeError_(f"{rule} needs the attribute {attr!r}", location=location, label=str(label))
    for attr in ("visibility", "tags"):
        value = attrs.get(attr, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise AttributeError_(
                f"attribute {attr!r} of {rule} should be a list of strings, not {str(value)[:200]!r}",
                location=location,
                label=str(label),
                hint=f"{attr} cannot be chosen by select()"
                if "Select" in type(value).__name__
                else f"write {attr} = [{value!r}]"
                if isinstance(value, str)
                else None,
            )
    _refuse_addresses(attrs, rule, location, str(label))
    draft.claim(name, location)
    draft.declarations[name] = Declaration(cls, name, draft.path, attrs, location)


def _refuse_addresses(attrs: Mapping[str, Any], rule: str, location: Location, label: str) -> None:
    """A function put into a text leaves its place in memory there, and that is another one each time."""
    for attr, value in attrs.items():
        items = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else [value]
        found = next((m for one in items if isinstance(one, str) and (m := _ADDRESS.search(one))), None)
        if found:
            raise AttributeError_(
                f"attribute {attr!r} of {rule} holds {found[0]!r}", location=location, label=label, hint="call it: f()"
            )
