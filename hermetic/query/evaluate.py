"""From a syntax tree to its answer: a set of targets, or of actions.

Operators between targets and actions make actions of the targets first. A function over targets does
not take actions, as in Bazel's aquery: ``mnemonic()`` and its like come last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hermetic.errors import QueryError, did_you_mean
from hermetic.query.environment import Environment
from hermetic.query.functions import FUNCTIONS, Function, is_text
from hermetic.query.graph import Nodes
from hermetic.query.lexer import problem
from hermetic.query.syntax import Call, Chain, Expression, Let, Number, SetOf, Word


@dataclass(frozen=True, slots=True)
class Found:
    """``nodes`` are numbers of targets, or of actions."""

    nodes: Nodes
    actions: bool = False


Variables = Mapping[str, Found]


def evaluate(expression: Expression, env: Environment) -> Found:
    """The answer to a query. With ``env.as_actions`` it is made of actions. Raises QueryError and the errors
    of BUILD files that the query comes across."""
    found = _evaluate(expression, env, {})
    return _actions(found, env) if env.as_actions else found


def _evaluate(expression: Expression, env: Environment, variables: Variables) -> Found:
    match expression:
        case Word():
            if expression.text.startswith("$"):
                return _variable(expression, variables)
            return Found(env.targets(expression))
        case SetOf():
            found = [_evaluate(word, env, variables) for word in expression.words]
            return Found(set().union(*(one.nodes for one in found)))
        case Let():
            value = _evaluate(expression.value, env, variables)
            return _evaluate(expression.body, env, {**variables, expression.name: value})
        case Chain():
            return _chain(expression, env, variables)
        case Call():
            return _call(expression, env, variables)


def _variable(word: Word, variables: Variables) -> Found:
    name = word.text[1:]
    if name not in variables:
        near = did_you_mean(name, variables)
        raise problem(f"there is no variable {word.text!r}", word.column, near or "let name = expression in …$name…")
    return variables[name]


def _chain(chain: Chain, env: Environment, variables: Variables) -> Found:
    first = _evaluate(chain.first, env, variables)
    total, actions = set(first.nodes), first.actions  # a copy of our own, so that a long chain stays linear
    for operator, operand in chain.rest:
        other = _evaluate(operand, env, variables)
        if other.actions != actions:
            total, actions = set(_actions(Found(total, actions), env).nodes), True
            other = _actions(other, env)
        if operator == "+":
            total |= other.nodes
        elif operator == "-":
            total -= other.nodes
        else:
            total &= other.nodes
    return Found(total, actions)


def _call(call: Call, env: Environment, variables: Variables) -> Found:
    function = FUNCTIONS[call.function]
    if function.on_actions and env.actions is None:
        raise problem(f"{call.function}() asks about actions", call.column, "add --actions, or --configured")
    values: list[object] = []
    given: Nodes = frozenset()
    for at, argument in enumerate(call.arguments):
        if isinstance(argument, Number):
            values.append(argument.value)
        elif isinstance(argument, Word) and is_text(call.function, at):
            values.append(argument)
        else:
            operand = _evaluate(argument, env, variables)
            given = operand.nodes
            values.append(_operand(call, function, operand, argument, env))
    try:
        found = function.run(env, *values)
    except QueryError as error:
        error.column = error.column or call.column
        raise
    if function.on_actions and not env.as_actions and env.actions is not None:
        return Found({owner for action in found for owner in env.actions.owners(action)} & given)
    return Found(found, function.on_actions)


def _operand(call: Call, function: Function, found: Found, argument: Expression, env: Environment) -> Nodes:
    if function.on_actions:
        return _actions(found, env).nodes
    if found.actions:
        raise problem(f"{call.function}() takes targets, and these are actions", argument.column)
    return found.nodes


def _actions(found: Found, env: Environment) -> Found:
    if found.actions or env.actions is None:
        return found
    return Found(env.actions.of(found.nodes), True)
