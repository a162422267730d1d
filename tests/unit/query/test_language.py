"""The language as such: any text parses or is refused at a place inside it; what is written is what is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hermetic.errors import QueryError
from hermetic.query.answer import Question
from hermetic.query.functions import FUNCTIONS, SIGNATURES
from hermetic.query.lexer import MAX_LENGTH, tokens
from hermetic.query.parser import MAX_NESTING, Argument, parse
from hermetic.query.syntax import Call, Chain, Expression, Let, Number, SetOf, Word

PARTS = [
    "deps",
    "kind",
    "some",
    "set",
    "let",
    "in",
    "union",
    "-",
    "+",
    "^",
    "(",
    ")",
    ",",
    "=",
    "//a",
    "$v",
    "v",
    "2",
    "'x y'",
    " ",
]
words = st.one_of(
    st.from_regex(r"//[a-z]{1,3}(/[a-z]{1,3})?(:[a-z]{1,4})?", fullmatch=True),
    st.sampled_from(["union", "a b", "x'y", "//...", "**", "", "let", "ä"]),
).filter(lambda text: not text.startswith("$"))


def written(one: Expression | Number) -> str:
    """An expression as text, with no more parentheses than it needs."""
    match one:
        case Word(text):
            quote = '"' if "'" in text else "'"
            return f"{quote}{text}{quote}"
        case Number(value):
            return str(value)
        case SetOf(inner):
            return f"set({' '.join(map(written, inner))})"
        case Let(name, value, body):
            return f"(let {name} = {written(value)} in {written(body)})"
        case Chain(first, rest):
            operands = [written(first), *(f"{operator} {_operand(operand)}" for operator, operand in rest)]
            return " ".join(operands)
        case Call(function, arguments):
            return f"{function}({', '.join(map(written, arguments))})"


def _operand(one: Expression) -> str:
    return f"({written(one)})" if isinstance(one, Chain) else written(one)


def bare(one: Expression | Number) -> object:
    """An expression without columns."""
    match one:
        case Word(text):
            return ("word", text)
        case Number(value):
            return value
        case SetOf(inner):
            return ("set", *map(bare, inner))
        case Let(name, value, body):
            return ("let", name, bare(value), bare(body))
        case Chain(first, rest):
            return ("chain", bare(first), *((operator, bare(operand)) for operator, operand in rest))
        case Call(function, arguments):
            return (function, *map(bare, arguments))


def _calls(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    made: list[st.SearchStrategy[Expression]] = []
    for name, signature in SIGNATURES.items():
        kinds = {
            Argument.TARGETS: inner,
            Argument.TEXT: st.builds(Word, words, st.just(0)),
            Argument.NUMBER: st.builds(Number, st.integers(0, 99), st.just(0)),
        }
        arguments = st.tuples(*(kinds[one] for one in signature.arguments))
        made.append(st.builds(Call, st.just(name), arguments, st.just(0)))
    return st.one_of(made)


plain = st.builds(Word, words, st.just(0))
atoms: st.SearchStrategy[Expression] = st.one_of(
    plain, st.builds(SetOf, st.lists(plain, max_size=3).map(tuple), st.just(0))
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        _calls(inner),
        st.builds(Let, st.sampled_from(["v", "w_1"]), inner, inner, st.just(0)),
        st.builds(
            Chain,
            inner.filter(lambda one: not isinstance(one, Chain)),
            st.lists(st.tuples(st.sampled_from("+-^"), inner), min_size=1, max_size=3).map(tuple),
            st.just(0),
        ),
    ),
    max_leaves=8,
)


@given(expressions)
def test_what_is_written_is_what_is_read(expression: Expression) -> None:
    assert bare(parse(written(expression), SIGNATURES)) == bare(expression)


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PARTS), max_size=14).map(" ".join)))
@example("deps(" * 200)
@example("(" * 5000)
@example("let a = " * 500)
@example("\0")
@example("'")
def test_any_text_parses_or_is_refused_at_a_place(text: str) -> None:
    try:
        parse(text, SIGNATURES)
    except QueryError as error:
        assert 1 <= error.column <= len(text) + 1


@pytest.mark.parametrize(("text", "operator"), [("union", "+"), ("except", "-"), ("intersect", "^")])
def test_operators_have_two_spellings(text: str, operator: str) -> None:
    assert parse(f"//a {text} //b", SIGNATURES).rest[0][0] == operator  # type: ignore[union-attr]


def test_all_operators_bind_equally_and_to_the_left() -> None:
    chain = parse("//a + //b ^ //c - //d", SIGNATURES)
    assert isinstance(chain, Chain)
    assert [operator for operator, _ in chain.rest] == ["+", "^", "-"]


def test_a_chain_of_fifty_thousand_operands() -> None:
    chain = parse(" + ".join(["//a"] * 50_000), SIGNATURES)
    assert isinstance(chain, Chain) and len(chain.rest) == 49_999
    assert len(Question.of(" + ".join(["//a"] * 50_000)).words) == 50_000


def test_nesting_has_a_limit_that_is_named() -> None:
    assert parse("(" * MAX_NESTING + "//a" + ")" * MAX_NESTING, SIGNATURES) == Word("//a", MAX_NESTING + 1)
    for opening, closing in (("(", ")"), ("deps(", ")"), ("let v = //a in ", "")):
        with pytest.raises(QueryError, match=f"more than {MAX_NESTING} deep"):
            parse(opening * (MAX_NESTING + 1) + "//a" + closing * (MAX_NESTING + 1), SIGNATURES)


def test_a_query_has_a_longest_length() -> None:
    with pytest.raises(QueryError, match="the limit is"):
        tokens("x" * (MAX_LENGTH + 1))


def test_columns_of_everything() -> None:
    expression = parse("deps(//a) + let v = //b in kind('x', $v)", SIGNATURES)
    assert isinstance(expression, Chain)
    let = expression.rest[0][1]
    assert isinstance(let, Let)
    assert (expression.column, let.column, let.value.column, let.body.column) == (1, 13, 21, 28)


def test_an_error_far_into_a_long_query_shows_its_place() -> None:
    query = " + ".join(["//a"] * 100) + " + dep(//b) + " + " + ".join(["//c"] * 100)
    with pytest.raises(QueryError) as caught:
        Question.of(query)
    head, line, mark, _ = str(caught.value).split("\n")
    assert f"column {query.index('dep(') + 1} of" in head
    assert line[mark.index("^") :].startswith("dep(//b)")
    assert len(line) < 120


def test_the_patterns_of_a_query_are_those_it_looks_at() -> None:
    def words(query: str) -> list[str]:
        return [word.text for word in Question.of(query, universe=["//u/..."]).words]

    assert words("let v = //a in kind(x, deps($v - set(//b c:all)) + //d)") == ["//a", "//b", "c:all", "//d"]
    assert words("attr(name, //no, //e)") == ["//e"]
    assert words("allrdeps(//a)") == ["//a", "//u/..."]
    assert words("rbuildfiles(a/b.py, c.py)") == ["//u/..."]


def test_every_function_is_in_the_guide() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs" / "guide" / "query.md").read_text(encoding="utf-8")
    for name in FUNCTIONS:
        assert f"`{name}(" in text, name
