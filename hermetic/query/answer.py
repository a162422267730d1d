"""A query from its text to the lines of its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hermetic.analysis.targetfile import SOURCE
from hermetic.errors import HbError, QueryError
from hermetic.query.environment import Environment
from hermetic.query.evaluate import Found, evaluate
from hermetic.query.functions import FUNCTIONS, SIGNATURES, is_text
from hermetic.query.lexer import shown
from hermetic.query.loading import Scope, Source
from hermetic.query.output.order import ordered
from hermetic.query.parser import parse
from hermetic.query.syntax import Call, Chain, Expression, Let, Number, Word, patterns

if TYPE_CHECKING:
    from hermetic.query.catalogue import Shown


@dataclass(frozen=True)
class Question:
    """A parsed query and its options."""

    text: str
    expression: Expression
    package: str = ""
    universe: tuple[str, ...] = ("//...",)
    keep_going: bool = False

    @staticmethod
    def of(text: str, package: str = "", universe: Sequence[str] = (), keep_going: bool = False) -> Question:
        """Parse a query. Raises QueryError that shows the place."""
        try:
            expression = parse(text, SIGNATURES)
        except QueryError as error:
            raise shown(error, text) from None
        return Question(text, expression, package, tuple(universe) or ("//...",), keep_going)

    @property
    def words(self) -> list[Word]:
        """Every target pattern it needs, those of the universe only where a function looks at all of it."""
        found = patterns(self.expression, is_text)
        if any(FUNCTIONS[name].universal for name in _called(self.expression)):
            found += [Word(text, 0) for text in self.universe]
        return found

    @property
    def scope(self) -> Scope:
        return Scope.of(self.words, self.package)


@dataclass(frozen=True)
class Answer:
    """``errors``: what a query with ``keep_going`` came across. ``notes``: what the user should know."""

    catalogue: Shown
    found: Found
    errors: Sequence[HbError] = ()
    notes: Sequence[str] = field(default=())


def ask(question: Question, environment: Environment) -> Answer:
    """Evaluate a query. Raises QueryError that shows the place."""
    try:
        found = evaluate(question.expression, environment)
    except QueryError as error:
        raise shown(error, question.text) from None
    errors = [shown(one, question.text) if isinstance(one, QueryError) else one for one in environment.errors]
    return Answer(environment.catalogue, found, errors, environment.notes)


def unconfigured(question: Question, source: Source, tools: bool = True) -> Environment:
    """The environment of a query about targets as they are declared."""
    targets = source.targets(question.scope)
    return Environment(replace(targets, tools=tools), question.package, question.universe, question.keep_going)


def analysable(question: Question, environment: Environment) -> tuple[frozenset[str], list[str]]:
    """For a query about configured targets: the labels of files among its patterns, and the patterns that
    analysis is to be asked for. Raises QueryError that shows the place."""
    catalogue = environment.catalogue
    files: set[str] = set()
    patterns: dict[str, None] = {}
    try:
        for word in question.words:
            nodes = environment.targets(word)
            if nodes and all(catalogue.kind(node) == SOURCE for node in nodes):
                files.update(map(catalogue.label, nodes))
            elif nodes:
                patterns[word.text] = None
    except QueryError as error:
        raise shown(error, question.text) from None
    return frozenset(files), list(patterns)


def lines(answer: Answer, output: str, order: str, question: Question) -> Iterator[str]:
    """The answer in a format of ``hermetic.query.output.FORMATS``."""
    from hermetic.query.output import FORMATS

    nodes = ordered(answer.catalogue.graph, answer.found.nodes, order, question.expression)
    return FORMATS[output](answer.catalogue, nodes)


def _called(expression: Expression | Number) -> set[str]:
    """The names of all functions in an expression."""
    found = set()
    waiting: list[Expression | Number] = [expression]
    while waiting:
        one = waiting.pop()
        match one:
            case Call():
                found.add(one.function)
                waiting += one.arguments
            case Chain():
                waiting += (one.first, *(operand for _, operand in one.rest))
            case Let():
                waiting += (one.value, one.body)
    return found
