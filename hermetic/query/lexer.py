"""Tokens of the query language, with their columns: words, keywords and punctuation, as in Bazel.

Unquoted words are made of letters, digits and ``*/@.-_:$~[]`` and begin with neither ``-`` nor ``*``. A
word in single or double quotes may hold anything but its own quote and is never a keyword.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hermetic.errors import QueryError

KEYWORDS = frozenset(("except", "in", "intersect", "let", "set", "union"))
OPERATORS = {"+": "+", "-": "-", "^": "^", "union": "+", "except": "-", "intersect": "^"}
MAX_LENGTH = 8 << 20  # characters of a query: set() may hold what another query printed

_TOKEN = re.compile(
    r"""\s+
    |(?P<word>[A-Za-z0-9/@._:$~\[\]][A-Za-z0-9/@._:$~\[\]*-]*)
    |(?P<quoted>"[^"]*"|'[^']*')
    |(?P<mark>[()+\-^,=])""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: "word", "end", or the keyword or punctuation mark itself. ``column`` counts from 1."""

    kind: str
    text: str
    column: int

    def __str__(self) -> str:
        return "the end of the query" if self.kind == "end" else repr(self.text)


def tokens(query: str) -> list[Token]:
    """All tokens, the last one of kind "end". Raises QueryError at the first character that begins none."""
    if len(query) > MAX_LENGTH:
        raise problem(f"the query is {len(query)} characters long; the limit is {MAX_LENGTH}", 1)
    found = []
    at = 0
    while at < len(query):
        match = _TOKEN.match(query, at)
        if match is None:
            raise _odd(query, at)
        kind, text = match.lastgroup, match.group()
        if kind == "word":
            found.append(Token(text if text in KEYWORDS else "word", text, at + 1))
        elif kind == "quoted":
            found.append(Token("word", text[1:-1], at + 1))
        elif kind == "mark":
            found.append(Token(text, text, at + 1))
        at = match.end()
    found.append(Token("end", "", len(query) + 1))
    return found


def problem(message: str, column: int, hint: str | None = None) -> QueryError:
    """A QueryError that knows its column."""
    error = QueryError(message, hint=hint)
    error.column = column
    return error


def shown(error: QueryError, query: str) -> QueryError:
    """The error with its column and the part of the query around it, and a mark below the place."""
    if not error.column:
        return error
    start = max(error.column - 60, 0)
    line = "".join(char if char.isprintable() else " " for char in query[start : start + 100])
    error.message = (
        f"column {error.column} of the query: {error.message}\n    {line}\n    {' ' * (error.column - 1 - start)}^"
    )
    return error


def _odd(query: str, at: int) -> QueryError:
    char = query[at]
    if char in "\"'":
        return problem(f"the quotation that begins with {char} does not end", at + 1, f"close it with {char}")
    if char == "*":
        return problem("a word cannot begin with '*'", at + 1, "put it into quotes")
    return problem(f"{char!r} is not part of the query language", at + 1, "put the word it belongs to into quotes")
