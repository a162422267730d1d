"""From a query to its syntax tree. Every error has the column it is about.

The grammar is Bazel's. All operators bind equally and to the left:

    expression ::= primary { ("+" | "union" | "-" | "except" | "^" | "intersect") primary }
    primary    ::= word | "(" expression ")" | "let" name "=" expression "in" expression
                 | "set" "(" { word } ")" | function "(" [ argument { "," argument } ] ")"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from hermetic.errors import did_you_mean
from hermetic.query.lexer import KEYWORDS, OPERATORS, Token, problem, tokens
from hermetic.query.syntax import Call, Chain, Expression, Let, Number, SetOf, Word

MAX_NESTING = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)


class Argument(Enum):
    """What a function takes in one place; the value is how messages call it."""

    TARGETS = "targets"
    TEXT = "a text"
    NUMBER = "a number"


@dataclass(frozen=True, slots=True)
class Signature:
    """``required``: how many of ``arguments`` must be given. ``repeats``: the last one may come any number
    of times."""

    arguments: tuple[Argument, ...]
    required: int
    repeats: bool = False

    def at(self, index: int) -> Argument | None:
        if index < len(self.arguments):
            return self.arguments[index]
        return self.arguments[-1] if self.repeats else None

    def __str__(self) -> str:
        texts = [one.value for one in self.arguments]
        needed, optional = texts[: self.required], texts[self.required :]
        listed = ", ".join(needed) + (", …" if self.repeats else "")
        return listed + "".join(f" and optionally {one}" for one in optional)


def parse(query: str, functions: Mapping[str, Signature]) -> Expression:
    """The syntax tree of a query. Raises QueryError."""
    parser = _Parser(tokens(query), functions)
    if parser.next.kind == "end":
        raise problem("the query is empty", 1, "hb query 'deps(//pkg:name)'")
    expression = parser.expression()
    left = parser.next
    if left.kind == ")":
        raise problem("there is no '(' for this ')'", left.column)
    if left.kind != "end":
        raise problem(f"{left} is not expected after an expression", left.column, _between(left))
    return expression


def _between(token: Token) -> str | None:
    if token.kind in ("word", "("):
        return "put an operator between them (+, - or ^), or write set(a b c)"
    return None


@dataclass
class _Parser:
    tokens: list[Token]
    functions: Mapping[str, Signature]
    at: int = 0
    opened: list[Token] = field(default_factory=list)

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def expect(self, kind: str, what: str) -> Token:
        if self.next.kind == kind:
            return self.take()
        raise self.unexpected(what)

    def unexpected(self, wanted: str) -> Exception:
        token = self.next
        if token.kind == "end" and self.opened and self.opened[-1].kind == "(":
            return problem("this '(' is not closed", self.opened[-1].column, f"{wanted} is expected at the end")
        hint = f'quote it to use it as a word: "{token.text}"' if token.kind in KEYWORDS else None
        return problem(f"{wanted} is expected, not {token}", token.column, hint)

    def open(self) -> None:
        self.opened.append(self.expect("(", "'('"))
        if len(self.opened) > MAX_NESTING:
            raise problem(f"nested more than {MAX_NESTING} deep", self.opened[-1].column, "name a part with let")

    def close(self, what: str) -> None:
        self.expect(")", what)
        self.opened.pop()

    # --- the grammar -----------------------------------------------------------------------------

    def expression(self) -> Expression:
        first = self.primary()
        rest = []
        while self.next.kind in OPERATORS:
            operator = OPERATORS[self.take().kind]
            rest.append((operator, self.primary()))
        return Chain(first, tuple(rest), first.column) if rest else first

    def primary(self) -> Expression:
        token = self.next
        if token.kind == "(":
            self.open()
            inner = self.expression()
            self.close("an operator or ')'")
            return inner
        if token.kind == "let":
            return self.let()
        if token.kind == "set":
            return self.set()
        if token.kind != "word":
            raise self.unexpected("an expression")
        if self.tokens[self.at + 1].kind == "(":
            return self.call()
        self.take()
        return _word(token)

    def let(self) -> Expression:
        start = self.take()
        name = self.expect("word", "the name of a variable")
        if not _NAME.fullmatch(name.text):
            raise problem(f"{name} cannot be the name of a variable", name.column, "use letters, digits and _")
        self.expect("=", "'='")
        self.opened.append(start)
        if len(self.opened) > MAX_NESTING:
            raise problem(f"nested more than {MAX_NESTING} deep", start.column)
        value = self.expression()
        self.expect("in", "'in'")
        body = self.expression()
        self.opened.pop()
        return Let(name.text, value, body, start.column)

    def set(self) -> Expression:
        start = self.take()
        self.open()
        words = []
        while self.next.kind == "word":
            words.append(_word(self.take()))
        if self.next.kind == ",":
            raise problem("set() takes words without commas", self.next.column, "separate them by spaces")
        self.close("a word or ')'")
        return SetOf(tuple(words), start.column)

    def call(self) -> Expression:
        name = self.take()
        signature = self.functions.get(name.text)
        if signature is None:
            hint = did_you_mean(name.text, self.functions) or f"there are {', '.join(sorted(self.functions))}"
            raise problem(f"there is no function {name.text!r}", name.column, hint)
        self.open()
        arguments: list[Expression | Number] = []
        while self.next.kind != ")":
            wanted = signature.at(len(arguments))
            if wanted is None:
                raise problem(f"{name.text}() takes {signature}, and no more", self.next.column)
            arguments.append(self.argument(name.text, wanted))
            if self.next.kind != ",":
                break
            self.take()
            if self.next.kind == ")":
                raise problem("an argument is expected after ','", self.next.column)
        if self.next.kind == ")" and len(arguments) < signature.required:
            raise problem(f"{name.text}() takes {signature}", self.next.column)
        self.close("',' or ')'")
        return Call(name.text, tuple(arguments), name.column)

    def argument(self, function: str, wanted: Argument) -> Expression | Number:
        if wanted is Argument.TARGETS:
            return self.expression()
        token = self.next
        if token.kind != "word" or self.tokens[self.at + 1].kind == "(":
            raise self.unexpected(f"{wanted.value} for {function}()")
        self.take()
        if wanted is Argument.TEXT:
            return _word(token)
        if not _COUNT.fullmatch(token.text):
            raise problem(f"{function}() takes a number here, not {token}", token.column)
        return Number(int(token.text), token.column)


def _word(token: Token) -> Word:
    return Word(token.text, token.column)
