"""Text for streams whose encoding has not every character: ASCII stands in for what hb itself says.

Guarantees: what comes out can be written, whatever went in. Imports nothing.
"""

from __future__ import annotations

STAND_INS = str.maketrans({"…": "...", "│": "|", "→": "->", "·": "-"})


def sayable(text: str, encoding: str | None) -> str:
    """The text itself where the encoding has all of it. Bytes of a file name that are no text are shown escaped."""
    name = encoding or "utf-8"
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return text.translate(STAND_INS).encode(name, "backslashreplace").decode(name)
    return text
