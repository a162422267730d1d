"""Labels and patterns: Bazel's grammar as a table of cases, and what holds for any of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.errors import CommandLineError, LabelError
from hermetic.label import Label
from hermetic.pattern import Pattern, PatternSet

CASES = Path(__file__).parents[2] / "cases"
LABELS = json.loads((CASES / "labels.json").read_text(encoding="utf-8"))
PATTERNS = json.loads((CASES / "patterns.json").read_text(encoding="utf-8"))

pieces = st.text(st.sampled_from("abcXYZ019-_.+@=~ "), min_size=1, max_size=8).filter(lambda piece: piece.strip("."))
paths = st.lists(pieces, min_size=1, max_size=4).map("/".join)
labels = st.builds(Label, st.one_of(st.just(""), paths), paths)


def text_of(case: dict) -> str:
    if "repeat" in case:
        head, part, count, tail = case["repeat"]
        return str(head + part * count + tail)
    return str(case["text"])


@pytest.mark.parametrize("case", LABELS, ids=[f"{number}" for number in range(len(LABELS))])
def test_label(case: dict) -> None:
    text = text_of(case)
    if "error" in case:
        with pytest.raises(LabelError) as caught:
            Label.parse(text, case.get("package"))
        assert case["error"] in str(caught.value)
        assert len(str(caught.value)) < 400  # a message, whatever was given
    elif "label" in case:
        assert str(Label.parse(text, case.get("package"))) == case["label"]
    else:
        assert str(Label.parse(text)) == text


@pytest.mark.parametrize("case", PATTERNS, ids=[f"{number}" for number in range(len(PATTERNS))])
def test_pattern(case: dict) -> None:
    if "error" in case:
        with pytest.raises(CommandLineError) as caught:
            Pattern.parse(case["text"], case.get("cwd"))
        assert case["error"] in str(caught.value)
    else:
        wanted = Pattern(case["package"], case["name"], case["recursive"], case["negative"])
        assert Pattern.parse(case["text"], case.get("cwd")) == wanted


def test_there_is_a_hint_for_relative_labels() -> None:
    for text, hint in ((":a", "//pkg:a"), ("a", "//pkg:a"), ("a/b:c", "//a/b:c")):
        with pytest.raises(LabelError) as caught:
            Label.parse(text)
        assert caught.value.hint == f"write {hint}"


@given(labels)
def test_a_label_is_what_its_text_says(label: Label) -> None:
    assert Label.parse(str(label)) == label
    assert Label.parse(label.short) == label
    assert Label.parse(f":{label.name}", label.package) == label


@given(st.text(max_size=40), st.sampled_from([None, "", "p/q"]))
def test_any_text_is_a_valid_label_or_a_label_error(text: str, package: str | None) -> None:
    try:
        label = Label.parse(text, package)
    except LabelError:
        return
    assert Label.parse(str(label)) == label


@given(st.text(st.sampled_from("/:.*-@ab"), max_size=12), st.sampled_from([None, "", "p"]))
def test_any_text_is_a_pattern_or_a_command_line_error(text: str, package: str | None) -> None:
    try:
        pattern = Pattern.parse(text, package)
    except CommandLineError:
        return
    assert Label.parse(f"//{pattern.package}:x").package == pattern.package
    if text.removeprefix("-").startswith("//"):  # what is absolute does not depend on where one stands
        assert pattern == Pattern.parse(text, "elsewhere")


@given(labels)
def test_a_label_is_in_the_patterns_above_it(label: Label) -> None:
    above = label.package.rpartition("/")[0]
    for text in ("//...", f"//{label.package}:all", f"//{above}/..." if above else "//...", str(label)):
        assert Pattern.parse(text).matches(label), text
    assert not Pattern.parse("//no/such/...").matches(label)


def test_a_name_that_begins_alike_is_not_below() -> None:
    below = Pattern.parse("//a/...")
    assert [below.matches(Label(package, "x")) for package in ("a", "a/b", "ab", "", "b/a")] == [True, True] + [
        False
    ] * 3


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["//..."], ["a:x", "a:y", "a/b:x", "c:x"]),
        (["//...", "-//a/..."], ["c:x"]),
        (["-//a/...", "//..."], ["a:x", "a:y", "a/b:x", "c:x"]),
        (["//...", "-//a/...", "//a:x"], ["a:x", "c:x"]),
        (["//a:all", "-//a:x"], ["a:y"]),
        (["-//a:x"], []),
        ([], []),
    ],
)
def test_later_patterns_add_and_take_away(patterns: list[str], found: list[str]) -> None:
    everything = [Label.parse(f"//{text}") for text in ("a:x", "a:y", "a/b:x", "c:x")]
    chosen = PatternSet.parse(patterns)
    assert [label for label in everything if chosen.matches(label)] == [Label.parse(f"//{text}") for text in found]
