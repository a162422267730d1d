"""Secrets as values: how they are named, what they may hold, what actions may say of them.

Guarantees: a ``Secret`` never shows its value in a repr, so no message, log line or traceback that formats
one holds it. A value that cannot be told from ordinary text (shorter than ``SHORTEST``) is refused, because
hiding it would hide half of every log and finding it in an output would mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hermetic.errors import SecretError

FOLDER = "/run/secrets"  # in a sandbox: one file for each
SHORTEST = 8  # bytes, without white space around them
LONGEST = 16 << 10  # bytes: every line of it is looked for in all that is said and made
LONGEST_GENERATION = 200  # characters
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """``value``: exactly what was given. ``hosts``: where it may go over a network; empty for anywhere."""

    name: str
    value: bytes
    hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Secret({self.name})"


def is_name(text: str) -> bool:
    """Whether a secret may be called so: like an environment variable, because one may hold it."""
    return _NAME.fullmatch(text) is not None


def fault(names: Sequence[str], generation: str, *, command: bool) -> str:
    """What is wrong with the secrets that an action declares, or ""."""
    if isinstance(names, str):
        return f"secrets is a list of names, not {names!r:.80}"
    for name in names:
        if not isinstance(name, str) or not is_name(name):
            return f"{name!r} is not the name of a secret"
    if len(set(names)) != len(names):
        return "a secret is named twice"
    if not command:
        return "only commands have a secret_generation" if generation else ""
    if names and not generation:
        return "a command that needs secrets states no secret_generation"
    if generation and not names:
        return "a secret_generation is stated, but no secrets"
    if not isinstance(generation, str) or not generation.isprintable() or len(generation) > LONGEST_GENERATION:
        return f"the secret_generation {generation!r:.60} is not a short text of one line"
    return ""


def checked(secret: Secret) -> Secret:
    """The secret, if its value is one. Raises SecretError, without any part of the value."""
    size = len(secret.value.strip())
    if size == 0:
        raise SecretError(f"the secret {secret.name} is empty", hint="look at where it comes from: hb info")
    if size < SHORTEST:
        raise SecretError(
            f"the secret {secret.name} has {size} bytes, which cannot be told from ordinary text",
            hint=f"use a value of {SHORTEST} bytes or more, or an ordinary attribute if it is no secret",
        )
    if len(secret.value) > LONGEST:
        raise SecretError(
            f"the secret {secret.name} has more than {LONGEST >> 10} KiB",
            hint="keep what it unlocks elsewhere, and the key to it in the secret",
        )
    return secret
