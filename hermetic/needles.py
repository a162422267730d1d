"""The forms in which the value of a secret comes to light, and finding them in data.

They are a net for accidents: a tool that prints its configuration, a header in a debug log, a token left in a
file. Who may run code with a secret can always write it in a form nobody looks for.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from hermetic.secret import Secret

WORD = 32  # bytes: such a word in a value of several lines is looked for by itself (the lines of a PEM key)
WRAPS = (64, 76)  # columns at which base64 text is wrapped (RFC 7468, RFC 2045)


class Needles:
    """The forms of some secrets' values, each with the name of its secret."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        found = {form: secret.name for secret in secrets for form in forms(secret.value)}
        self._all = tuple(found.items())
        self.longest = max(map(len, found), default=0)

    def first(self, data: bytes) -> str | None:
        """The name of a secret that is in ``data``, or None."""
        return next((name for form, name in self._all if form in data), None)

    def places(self, data: bytes, end: int) -> list[tuple[int, int, str]]:
        """(start, end, name) of every form that starts before ``end``, in order."""
        return sorted(place for form, name in self._all for place in _places(data, form, name, end))


def _places(data: bytes, form: bytes, name: str, end: int) -> Iterator[tuple[int, int, str]]:
    start = data.find(form)
    while 0 <= start < end:
        yield start, start + len(form), name
        start = data.find(form, start + 1)


def forms(value: bytes) -> frozenset[bytes]:
    """The value without white space around it, and as base64 (at any place of a longer text, also wrapped),
    hexadecimal, URL-quoted and JSON text has it; and the long words of a value of several lines."""
    core = value.strip()
    found = {core, core.hex().encode(), core.hex().upper().encode()}
    found.update(_base64(core))
    found.update(_quoted(core))
    lines = core.split()
    if b"\n" in core:
        found.update(line for line in lines if len(line) >= WORD)
    return frozenset(found)


def _base64(core: bytes) -> Iterator[bytes]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # Only characters that depend on nothing but the value: not those shared with its neighbours.
            text = encode(bytes(before) + core)
            yield text[-(-before * 8 // 6) : (before + len(core)) * 8 // 6]
        whole = encode(core).rstrip(b"=")
        for width in WRAPS:
            yield from (whole[at : at + width] for at in range(0, len(whole) - width + 1, width))


def _quoted(core: bytes) -> Iterator[bytes]:
    for safe in ("", "/"):
        text = quote(core, safe=safe).encode()
        yield text
        yield re.sub(rb"%..", lambda found: found[0].lower(), text)
    try:
        decoded = core.decode()
    except UnicodeDecodeError:
        return
    yield json.dumps(decoded)[1:-1].encode()
    yield json.dumps(decoded, ensure_ascii=False)[1:-1].encode()
