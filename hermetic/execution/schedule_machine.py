"""What actions may use of this machine: how much each claims, and how long it should take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from hermetic.action import Action
from hermetic.execution.schedule import Budget, Claim
from hermetic.execution.schedule_order import step_of


@dataclass(frozen=True, slots=True)
class Machine:
    """``times``: seconds that steps (see ``step_of``) took in earlier builds."""

    budget: Budget
    times: Mapping[str, float] = field(default_factory=dict)
    claim: Callable[[Action], Claim] = lambda _: Claim()

    def seconds(self, names: Collection[str]) -> Mapping[str, float]:
        """Action → seconds its step took; those that never ran are absent."""
        return {name: self.times[step] for name in names if (step := step_of(name)) in self.times}
