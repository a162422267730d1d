"""A configured target: what rules see of a dependency (``Target``) and what the graph needs of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermetic.analysis.rule import P, Provider
from hermetic.errors import BuildFileError
from hermetic.label import Label


@dataclass(frozen=True, eq=False, repr=False)
class Configured:
    """``id``: as in ``TargetNode``. ``node`` and ``actions``: the target and its own actions, not those of
    ``deps``, as lines: nothing here reads them again. ``reads``: the settings its closure read."""

    label: Label
    id: str
    rule: str
    providers: Sequence[Provider]
    node: bytes
    actions: Mapping[str, bytes]
    deps: tuple[Configured, ...]
    reads: frozenset[str]

    def __repr__(self) -> str:
        return f"<target {self.label}>"

    def get(self, provider: type[P]) -> P | None:
        return next((one for one in self.providers if isinstance(one, provider)), None)

    def __contains__(self, provider: type[Provider]) -> bool:
        return self.get(provider) is not None

    def __getitem__(self, provider: type[P]) -> P:
        found = self.get(provider)
        if found is None:
            has = ", ".join(type(one).__name__ for one in self.providers) or "nothing"
            raise BuildFileError(f"{self.label} ({self.rule}) does not provide {provider.__name__}; it provides {has}")
        return found
