"""The functions of the query language: name → signature → implementation, in one table.

An implementation gets the environment and its arguments: sets of nodes, ``Word`` for texts, int for
numbers. It makes a new set and changes none. Meanings are those of Bazel's query reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hermetic.errors import did_you_mean
from hermetic.query.environment import Environment
from hermetic.query.graph import Nodes
from hermetic.query.lexer import problem
from hermetic.query.parser import Argument, Signature
from hermetic.query.syntax import Word


@dataclass(frozen=True, slots=True)
class Function:
    """``on_actions``: it chooses among actions; among targets by the actions they have. ``universal``: it
    looks at the whole universe."""

    run: Callable[..., set[int]]
    signature: Signature
    on_actions: bool = False
    universal: bool = False


# --- closures ----------------------------------------------------------------------------------------


def deps(env: Environment, x: Nodes, depth: int | None = None) -> set[int]:
    return env.reach(x, depth)


def rdeps(env: Environment, universe: Nodes, x: Nodes, depth: int | None = None) -> set[int]:
    return _upwards(env, env.reach(universe), x, depth)


def allrdeps(env: Environment, x: Nodes, depth: int | None = None) -> set[int]:
    return _upwards(env, env.everything, x, depth)


def _upwards(env: Environment, within: Nodes, x: Nodes, depth: int | None) -> set[int]:
    reverse = env.catalogue.graph.reverse
    return reverse.closure(x, within) if depth is None else reverse.levels(x, depth, within)[0]


def allpaths(env: Environment, start: Nodes, end: Nodes) -> set[int]:
    env.pass_through(env.catalogue.graph.closure(start))
    return env.catalogue.graph.between(start, end)


def somepath(env: Environment, start: Nodes, end: Nodes) -> set[int]:
    env.pass_through(env.catalogue.graph.closure(start))
    return set(env.catalogue.graph.path(start, end))


def same_pkg_direct_rdeps(env: Environment, x: Nodes) -> set[int]:
    reverse, package = env.catalogue.graph.reverse, env.catalogue.package
    return {user for node in x for user in reverse.successors(node) if package(user) == package(node)}


# --- choosing ----------------------------------------------------------------------------------------


def kind(env: Environment, pattern: Word, x: Nodes) -> set[int]:
    return _choose(env, pattern, env.catalogue.kind, x)


def filter_(env: Environment, pattern: Word, x: Nodes) -> set[int]:
    return _choose(env, pattern, env.catalogue.label, x)


def _choose(env: Environment, pattern: Word, text: Callable[[int], str], x: Nodes) -> set[int]:
    matches = env.regex(pattern)
    known: dict[str, object] = {}  # kinds are few
    found = set()
    for node in x:
        shown = text(node)
        if shown not in known:
            known[shown] = matches(shown)
        if known[shown]:
            found.add(node)
    return found


def attr(env: Environment, name: Word, pattern: Word, x: Nodes) -> set[int]:
    _check_attribute(env, name)
    matches = env.regex(pattern)
    return {node for node in x if any(map(matches, env.catalogue.texts(node, name.text)))}


def labels(env: Environment, name: Word, x: Nodes) -> set[int]:
    _check_attribute(env, name)
    env.pass_through(x)
    return {target for node in x for target in env.catalogue.labelled(node, name.text)}


def _check_attribute(env: Environment, name: Word) -> None:
    known = [*env.catalogue.attribute_names()]
    if known and name.text not in known:
        near = did_you_mean(name.text, known)
        env.note(f"no rule here has an attribute {name.text!r}" + (f"; {near}" if near else ""))


def tests(env: Environment, x: Nodes) -> set[int]:
    return {node for node in x if env.catalogue.is_test(node)}


def some(env: Environment, x: Nodes, count: int = 1) -> set[int]:
    if not x and not env.errors:
        raise problem("some() chooses from nothing: its argument is empty", 0)
    return set(sorted(x)[:count])


def visible(env: Environment, users: Nodes, x: Nodes) -> set[int]:
    packages = {env.catalogue.package(user) for user in users}
    return {node for node in x if all(_admits(env, node, package) for package in packages)}


def _admits(env: Environment, node: int, package: str) -> bool:
    own = env.catalogue.package(node)
    if package == own:
        return True
    for entry in env.catalogue.visibility(node):
        path, _, name = entry.partition(":")
        owner = path.removeprefix("//") if path else own
        below = name == "__subpackages__" and (not owner or package.startswith(f"{owner}/"))
        if entry == "//visibility:public" or below or (name in ("__pkg__", "__subpackages__") and package == owner):
            return True
    return False


# --- packages ----------------------------------------------------------------------------------------


def _packages(env: Environment, x: Nodes) -> set[str]:
    return {env.catalogue.package(node) for node in x}


def siblings(env: Environment, x: Nodes) -> set[int]:
    return env.catalogue.in_packages(_packages(env, x))


def loadfiles(env: Environment, x: Nodes) -> set[int]:
    return {file for package in _packages(env, x) for file in env.catalogue.loads(package)}


def buildfiles(env: Environment, x: Nodes) -> set[int]:
    loaded = loadfiles(env, x)
    return loaded | env.catalogue.build_files(_packages(env, x) | _packages(env, loaded))


def rbuildfiles(env: Environment, *paths: Word) -> set[int]:
    wanted = {word.text for word in paths}
    catalogue = env.catalogue
    found = set()
    for package in _packages(env, env.everything):
        files = catalogue.build_files([package])
        if any(catalogue.location(file).path in wanted for file in files | catalogue.loads(package)):
            found |= files
    return found


# --- actions -----------------------------------------------------------------------------------------


def mnemonic(env: Environment, pattern: Word, x: Nodes) -> set[int]:
    matches = env.regex(pattern)
    return {action for action in x if env.actions and matches(env.actions.mnemonic(action))}


def inputs(env: Environment, pattern: Word, x: Nodes) -> set[int]:
    matches = env.regex(pattern)
    return {action for action in x if env.actions and any(map(matches, env.actions.inputs(action)))}


def outputs(env: Environment, pattern: Word, x: Nodes) -> set[int]:
    matches = env.regex(pattern)
    return {action for action in x if env.actions and any(map(matches, env.actions.outputs(action)))}


_T, _S, _N = Argument.TARGETS, Argument.TEXT, Argument.NUMBER

FUNCTIONS: Mapping[str, Function] = {
    "allpaths": Function(allpaths, Signature((_T, _T), 2)),
    "allrdeps": Function(allrdeps, Signature((_T, _N), 1), universal=True),
    "attr": Function(attr, Signature((_S, _S, _T), 3)),
    "buildfiles": Function(buildfiles, Signature((_T,), 1)),
    "deps": Function(deps, Signature((_T, _N), 1)),
    "filter": Function(filter_, Signature((_S, _T), 2)),
    "inputs": Function(inputs, Signature((_S, _T), 2), on_actions=True),
    "kind": Function(kind, Signature((_S, _T), 2)),
    "labels": Function(labels, Signature((_S, _T), 2)),
    "loadfiles": Function(loadfiles, Signature((_T,), 1)),
    "mnemonic": Function(mnemonic, Signature((_S, _T), 2), on_actions=True),
    "outputs": Function(outputs, Signature((_S, _T), 2), on_actions=True),
    "rbuildfiles": Function(rbuildfiles, Signature((_S,), 1, repeats=True), universal=True),
    "rdeps": Function(rdeps, Signature((_T, _T, _N), 2)),
    "same_pkg_direct_rdeps": Function(same_pkg_direct_rdeps, Signature((_T,), 1)),
    "siblings": Function(siblings, Signature((_T,), 1)),
    "some": Function(some, Signature((_T, _N), 1)),
    "somepath": Function(somepath, Signature((_T, _T), 2)),
    "tests": Function(tests, Signature((_T,), 1)),
    "visible": Function(visible, Signature((_T, _T), 2)),
}
SIGNATURES: Mapping[str, Signature] = {name: one.signature for name, one in FUNCTIONS.items()}


def is_text(function: str, at: int) -> bool:
    """Whether an argument of a function, counted from 0, is plain text."""
    return SIGNATURES[function].at(at) is Argument.TEXT
