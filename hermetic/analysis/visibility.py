"""Visibility: which packages may name a target. Private to its own package unless it says more."""

from __future__ import annotations

from hermetic.errors import VisibilityError
from hermetic.label import Label
from hermetic.loading.declare import Declaration
from hermetic.loading.loader import Loader

PUBLIC, PRIVATE = "//visibility:public", "//visibility:private"


def check(loader: Loader, label: Label, user: Declaration) -> None:
    """Raise VisibilityError when ``user`` may not depend on ``label``."""
    if label.package == user.package:
        return
    package = loader.package(label.package)
    own = package.declarations[label.name].attrs.get("visibility")
    allowed = tuple(own) if own is not None else package.default_visibility or (PRIVATE,)
    if not any(_admits(rule, user.package, label) for rule in allowed):
        raise VisibilityError(
            f"{label} is not visible from //{user.package}; it is visible to {', '.join(allowed)}",
            location=user.location,
            label=str(user.label),
            hint=f'add "//{user.package}:__pkg__" to its visibility',
        )


def _admits(rule: str, package: str, label: Label) -> bool:
    if rule in (PUBLIC, PRIVATE):
        return rule == PUBLIC
    path, _, name = rule.partition(":")
    owner = path.removeprefix("//") if path.startswith("//") else label.package
    if name == "__pkg__":
        return package == owner
    if name == "__subpackages__":
        return not owner or package == owner or package.startswith(f"{owner}/")
    raise VisibilityError(
        f"{label} has the visibility {rule!r}, which means nothing",
        hint=f"use {PUBLIC}, {PRIVATE}, //pkg:__pkg__ or //pkg:__subpackages__",
    )
