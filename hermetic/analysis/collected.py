"""The unconfigured target graph while it is collected, before its nodes have numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hermetic.analysis.rule import Rule
from hermetic.errors import HbError
from hermetic.loading.loader import Package

Place = tuple[str, str]  # package, name


class Arrow(NamedTuple):
    """One edge. ``attribute``: number of its name; ``flags``: those of ``hermetic.analysis.targetfile``."""

    to: Place
    attribute: int
    flags: int


@dataclass
class Collected:
    """``broken``: packages that cannot be loaded; ``folders``: that are none; ``files``: package → names of its
    files; ``faults``: what is wrong with single targets; ``names``: attribute → number; ``rules``: → kind;
    ``places``: absolute labels as written → what they name."""

    packages: dict[str, Package] = field(default_factory=dict)
    broken: dict[str, HbError] = field(default_factory=dict)
    folders: dict[str, HbError] = field(default_factory=dict)
    files: dict[str, dict[str, None]] = field(default_factory=dict)
    arrows: dict[Place, list[Arrow]] = field(default_factory=dict)
    faults: list[tuple[Place, HbError]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    rules: dict[type[Rule], str] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
