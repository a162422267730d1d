"""Keeping the values of secrets out of text.

Guarantees: what a ``Redactor`` gives out does not depend on how its input was cut into pieces, holds no form
(``hermetic.needles``) of a value, and is made with a bounded amount of memory. Bytes covered by several
forms that overlap become one mark; everything else stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from hermetic.errors import HbError
from hermetic.needles import Needles
from hermetic.secret import Secret

Error = TypeVar("Error", bound=HbError)


class Redactor:
    """A stream of bytes without the values of ``secrets``. ``feed`` gives out what is certain, ``end`` the rest."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._needles = Needles(secrets)
        self._pending = b""
        self._covered = 0  # how many bytes of what is pending belong to a mark given out already

    def feed(self, data: bytes) -> bytes:
        if not self._needles.longest:
            return data
        data = self._pending + data
        # Before this, every form that starts is here as a whole.
        return self._taken(data, max(len(data) - self._needles.longest + 1, 0))

    def end(self) -> bytes:
        return self._taken(self._pending, len(self._pending))

    def _taken(self, data: bytes, certain: int) -> bytes:
        out: list[bytes] = []
        done = self._covered
        for start, stop, name in self._needles.places(data, certain):
            if start >= done:
                out += [data[done:start], mark(name)]
            done = max(done, stop)
        out.append(data[done:certain])
        self._pending, self._covered = data[certain:], max(done - certain, 0)
        return b"".join(out)


def mark(name: str) -> bytes:
    """What stands in the place of a value."""
    return f"[secret {name}]".encode()


def redacted(text: str, secrets: Sequence[Secret]) -> str:
    if not secrets:
        return text
    redactor = Redactor(secrets)
    raw = redactor.feed(text.encode("utf-8", "surrogateescape")) + redactor.end()
    return raw.decode("utf-8", "replace")


def without(error: Error, secrets: Sequence[Secret]) -> Error:
    """The same error without values. What caused it is forgotten: nobody has looked through its text."""
    if secrets:
        error.message = redacted(error.message, secrets)
        error.args = (error.message,)
        error.hint = redacted(error.hint, secrets) if error.hint else error.hint
        error.__cause__, error.__context__ = None, None
    return error
