"""Visibility: which packages may name a target. Private to its own package unless it says more."""

from __future__ import annotations

from hermetic.errors import VisibilityError, did_you_mean
from hermetic.label import Label
from hermetic.loading.declare import Declaration
from hermetic.loading.loader import Loader

PUBLIC, PRIVATE = "//visibility:public", "//visibility:private"


def check(loader: Loader, label: Label, user: Declaration) -> None:
    """Raise VisibilityError when ``user`` may not depend on ``label``."""
    if label.package == user.package:
        return
    admitted = allowed(loader, label)
    if not any(_admits(rule, user.package, label) for rule in admitted):
        raise VisibilityError(
            f"{label} is not visible from //{user.package}; it is visible to {', '.join(admitted) or PRIVATE}",
            location=user.location,
            label=str(user.label),
            hint=f'add "//{user.package}:__pkg__" to its visibility',
        )


def check_words(loader: Loader, declaration: Declaration) -> None:
    """Raise VisibilityError when what a target says of its visibility means nothing."""
    for rule in allowed(loader, declaration.label):
        path = rule.partition(":")[0]
        owner = path in ("", "//visibility") or path.startswith("//")
        known = (PUBLIC, PRIVATE) if path == "//visibility" else (f"{path}:__pkg__", f"{path}:__subpackages__")
        if not owner or rule not in known:
            raise VisibilityError(
                f"{declaration.label} has the visibility {rule!r}, which means nothing",
                location=declaration.location,
                label=str(declaration.label),
                hint=did_you_mean(rule if ":" in rule else f"//visibility:{rule}", (*known, PUBLIC, PRIVATE))
                or f"use {PUBLIC}, {PRIVATE}, //pkg:__pkg__ or //pkg:__subpackages__",
            )


def allowed(loader: Loader, label: Label) -> tuple[str, ...]:
    package = loader.package(label.package)
    own = package.declarations[label.name].attrs.get("visibility")
    return tuple(own) if own is not None else package.default_visibility or (PRIVATE,)


def _admits(rule: str, package: str, label: Label) -> bool:
    if rule in (PUBLIC, PRIVATE):
        return rule == PUBLIC
    path, _, name = rule.partition(":")
    owner = path.removeprefix("//") if path.startswith("//") else label.package
    if name == "__pkg__":
        return package == owner
    return not owner or package == owner or package.startswith(f"{owner}/")
