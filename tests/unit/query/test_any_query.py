"""Whatever parses has an answer or an error of ours, in every mode, and sets behave as sets do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.errors import HbError
from hermetic.query.answer import Question, ask, lines, unconfigured
from hermetic.query.environment import Environment
from hermetic.query.functions import FUNCTIONS
from hermetic.query.output import FORMATS
from hermetic.query.parser import Argument

if TYPE_CHECKING:
    from conftest import Asked

TREE = {
    "BUILD.py": "from defs import NAMES\nfrom rules.demo import compile\n[compile(name=name) for name in NAMES]\n",
    "defs.py": "NAMES = ['x', 'y']\n",
    "a/BUILD.py": 'from rules.demo import compile\ncompile(name="a", srcs=["a.c"], deps=["//b", ":c"], tool="//b:t")\n'
    'compile(name="c", deps=select({"default": ["//b"]}), tags=["x"])\n',
    "a/a.c": "",
    "b/BUILD.py": 'from rules.demo import compile\nfrom rules.test import py_test\ncompile(name="b", srcs=["b.c"])\n'
    'compile(name="t", deps=[":b"])\npy_test(name="test", srcs=["b.c"])\ncompile(name="bad", deps=["//none"])\n',
    "b/b.c": "",
}
PATTERNS = [
    "//a",
    "//a:c",
    "//b",
    "//b:all",
    "//b:*",
    "//...",
    "//a/...",
    "//b:b.c",
    "//:x",
    "//none",
    "//b:bad",
    "$v",
    ":x",
]
TEXTS = ["'.'", "rule", "'^//a'", "srcs", "deps", "tags", "'['", "b.c", "name", "''"]


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    kinds = {
        Argument.TARGETS: inner,
        Argument.TEXT: st.sampled_from(TEXTS),
        Argument.NUMBER: st.integers(0, 3).map(str),
    }
    return st.one_of(
        [
            st.tuples(*(kinds[one] for one in function.signature.arguments)).map(
                lambda arguments, name=name: f"{name}({', '.join(arguments)})"
            )
            for name, function in FUNCTIONS.items()
            if not function.on_actions
        ]
    )


queries = st.recursive(
    st.sampled_from(PATTERNS),
    lambda inner: st.one_of(
        _calls(inner),
        st.tuples(inner, st.sampled_from("+-^"), inner).map(lambda three: f"({' '.join(three)})"),
        st.tuples(inner, inner).map(lambda two: f"(let v = {two[0]} in {two[1]})"),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def asked(new_asked: Callable[[Mapping[str, str]], Asked]) -> Asked:
    return new_asked(TREE)


@pytest.fixture(scope="module")
def environment(asked: Asked) -> Environment:
    """The whole graph, so that no example loads anything."""
    return unconfigured(Question.of("//... + //none:x + //:x", keep_going=True), asked.source)


def found(environment: Environment, query: str, keep_going: bool) -> frozenset[int] | None:
    env = Environment(environment.catalogue, keep_going=keep_going)
    try:
        return frozenset(ask(Question.of(query, keep_going=keep_going), env).found.nodes)
    except HbError as error:
        assert error.exit_code == 7 and str(error)
        return None


@given(queries)
def test_an_answer_or_an_error(environment: Environment, query: str) -> None:
    strict, lax = found(environment, query, False), found(environment, query, True)
    if strict is not None:
        assert strict == lax  # nothing was in the way, so going on changes nothing


@given(
    queries, st.sampled_from(sorted(FORMATS.keys() - {"text", "svg"})), st.sampled_from(["auto", "deps", "full", "no"])
)
def test_every_answer_has_every_form(environment: Environment, query: str, output: str, order: str) -> None:
    question = Question.of(query, keep_going=True)
    env = Environment(environment.catalogue, keep_going=True)
    try:
        answer = ask(question, env)
    except HbError:
        return
    rows = list(lines(answer, output, order, question))
    if output in ("label", "label_kind", "location", "jsonl", "minrank", "maxrank"):
        assert len(rows) == len(answer.found.nodes)


@given(queries, queries)
def test_sets_are_sets(environment: Environment, one: str, other: str) -> None:
    a, b = found(environment, one, True), found(environment, other, True)
    if a is None or b is None or "$" in one + other:
        return
    assert found(environment, f"({one}) + ({other})", True) == a | b
    assert found(environment, f"({one}) - ({other})", True) == a - b
    assert found(environment, f"({one}) ^ ({other})", True) == a & b
    assert found(environment, f"let w = {one} in ($w + {other})", True) == a | b


@given(queries)
def test_closures_are_closed(environment: Environment, query: str) -> None:
    closed = found(environment, f"deps({query})", True)
    if closed is None:
        return
    assert found(environment, f"deps(deps({query}))", True) == closed
    assert (found(environment, query, True) or frozenset()) <= closed
    assert found(environment, f"rdeps({query}, deps({query}))", True) == closed
    assert found(environment, f"allpaths({query}, deps({query}))", True) == closed
    assert found(environment, f"deps({query}, 99)", True) == closed
