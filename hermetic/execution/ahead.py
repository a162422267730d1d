"""Secrets that nobody gave, said as soon as an action that needs one may run, and not hours later when it does.

Guarantees: a build whose actions are all hits says nothing, because a hit needs no secret; each secret is said
once, before what leads to the action runs; no value is read. Costs a look at the bytes of lines that nobody has read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hermetic.action import Action
from hermetic.analysis.lines import may_need_secrets
from hermetic.vault import Vault


@dataclass
class Ahead:
    """``users``: action → those that take its outputs, once a plan says so. Thread-safe."""

    vault: Vault
    actions: Mapping[str, Action]
    note: Callable[[str], None]
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def runs(self, name: str) -> None:
        """An action has no result and will run: so may everything behind it."""
        with self._lock:
            waiting = [name]
            while waiting:
                for user in self.users.get(waiting.pop(), ()):
                    if user not in self._seen:
                        self._seen.add(user)
                        waiting.append(user)
                        if may_need_secrets(self.actions, user):
                            self._look(self.actions[user])

    def _look(self, action: Action) -> None:
        for name in self.vault.lacking(action.secrets):
            if name not in self._said:
                self._said.add(name)
                why = self.vault.missing(name)
                what = f"{action.location}: {action.label} {action.mnemonic} may run, and {why.message}"
                self.note(f"warning: {what}\n  → {why.hint}")
