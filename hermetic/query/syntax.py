"""The syntax tree of a query: frozen values, each with the column it begins at.

A chain of operators is one node however long it is, so only parentheses, calls and ``let`` nest, and
these are limited by the parser: no walk over a tree can run out of stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Word:
    """A target pattern, a variable (``$name``), or a text argument of a function."""

    text: str
    column: int


@dataclass(frozen=True, slots=True)
class Number:
    """A count: the depth of ``deps``, the size of ``some``."""

    value: int
    column: int


@dataclass(frozen=True, slots=True)
class SetOf:
    """``set(a b c)``: the union of patterns."""

    words: tuple[Word, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Let:
    """``let name = value in body``."""

    name: str
    value: Expression
    body: Expression
    column: int


@dataclass(frozen=True, slots=True)
class Chain:
    """``first`` and then, from left to right, (operator, operand). Operators are ``+``, ``-`` and ``^``."""

    first: Expression
    rest: tuple[tuple[str, Expression], ...]
    column: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments, checked against its signature."""

    function: str
    arguments: tuple[Expression | Number, ...]
    column: int


Expression: TypeAlias = Word | SetOf | Let | Chain | Call


def patterns(expression: Expression | Number, is_text: Callable[[str, int], bool]) -> list[Word]:
    """The words of an expression that are target patterns, in order. ``is_text``: whether an argument of a
    function, by its number, is plain text."""
    found: list[Word] = []
    waiting: list[Expression | Number] = [expression]
    while waiting:
        one = waiting.pop()
        match one:
            case Word() if not one.text.startswith("$"):
                found.append(one)
            case SetOf():
                found.extend(one.words)
            case Let():
                waiting += (one.body, one.value)
            case Chain():
                waiting += (*(operand for _, operand in reversed(one.rest)), one.first)
            case Call():
                kept = [argument for at, argument in enumerate(one.arguments) if not is_text(one.function, at)]
                waiting += reversed(kept)
    return found
