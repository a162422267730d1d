"""The page of a build: what it says, and that nothing it is told can become markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hermetic.report.summary_md import (
    LIMIT,
    ROWS,
    TAILS,
    Failure,
    Page,
    Reason,
    Saved,
    code,
    duration,
    escape,
    lines,
    markdown,
)

TEXTS = json.loads((Path(__file__).parents[2] / "cases" / "hostile_texts.json").read_text(encoding="utf-8"))
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = re.compile(r"</?(code|br|details|summary)>")


def page(**more: Any) -> Page:
    return Page("build", ["//..."], "done", "id-1", 34.2, {"built": 3, "hit-local": 9}, **more)


def full(text: str) -> Page:
    """A page that says ``text`` wherever it can."""
    return Page(
        "build",
        [text],
        "failed",
        text,
        1.0,
        {"built": 1},
        [(text, "built", text)],
        [Failure(text, "failed", text, text, text)],
        Saved(1.0, 2, 1),
        [(text, 1.0)],
        [Reason(text, [text], [text], 1)],
    )


def tokens(text: str) -> list[Any]:
    return [one for token in PARSER.parse(text) for one in (token, *(token.children or ()))]


def shape(text: str) -> list[str]:
    """The structure of a page: its tokens, without what they say. Text next to text is one."""
    found: list[str] = []
    for one in tokens(text):
        word = f"{one.type} {one.content}" if one.type.startswith("html") else one.type
        if word not in ("text", "text_special", "inline") or found[-1:] != ["text"]:
            found.append("text" if word == "text_special" else word)
    return [re.sub(r">[^<]+<", "><", word) for word in found]


def test_a_page() -> None:
    told = page(
        rows=[("//:a", "built", "sha256:12")],
        saved=Saved(310.0, 9, 9),
        path=[("//:b Make", 4.5), ("//:a Make", 30.0)],
        reasons=[Reason("source a.c edited", ["x → y"], ["//:b Make"], 2)],
    )
    text = markdown(told)
    assert "## hb build //...: done" in text
    assert "**12 actions** in 34.2 s · hit rate **75 %** (9 of 12) · hits saved **5 min 10 s** of work\n" in text
    assert "| source a.c edited<br>x → y | <code>//:b Make</code> | 2 |" in text
    assert "### Critical path: 34.5 s" in text
    assert "| <code>//:a</code> | built | <code>sha256:12</code> |" in text
    assert "Failures" not in text


OUTCOMES = [
    ({"built": 1, "hit-local": 999}, "hit rate **99 %** (999 of 1000)"),
    ({"hit-local": 3, "hit-remote": 2}, "hit rate **100 %** (5 of 5)"),
    ({"failed": 1, "skipped": 7, "hit-remote": 1}, "hit rate **50 %** (1 of 2)"),
    ({"evicted": 1}, "hit rate **0 %** (0 of 1)"),
]


@pytest.mark.parametrize(("outcomes", "said"), OUTCOMES)
def test_hit_rates(outcomes: dict[str, int], said: str) -> None:
    assert said in markdown(Page("build", [], "done", outcomes=outcomes))


def test_nothing_to_divide_by() -> None:
    for outcomes in ({}, {"skipped": 2}):
        assert "hit rate" not in markdown(Page("build", [], "done", outcomes=outcomes))


def test_what_is_not_known_is_said() -> None:
    assert "no time is known of 3 hits" in markdown(page(saved=Saved(1.0, 9, 6)))
    assert "saved" not in markdown(page(saved=Saved(0.0, 9, 0)))
    assert "not in the history" in markdown(page(reasons=None))
    assert "Why" not in markdown(page(reasons=()))


def test_a_page_about_what_could_not_be_loaded() -> None:
    text = markdown(Page("test", ["//x"], "failed", failures=[Failure("hb", "error", "BUILD.py:3", "no such name")]))
    assert "| <code>hb</code> | error | <code>BUILD.py:3</code> | no such name |" in text
    assert "actions" not in text


TIMES = [(0, "0.00 s"), (0.256, "0.26 s"), (1, "1.0 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (310, "5 min 10 s"),
         (3599.7, "1 h 0 min"), (7500, "2 h 5 min")]  # fmt: skip


@pytest.mark.parametrize(("seconds", "text"), TIMES)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("text", TEXTS)
def test_a_hostile_text_is_only_text(text: str) -> None:
    parts = [len(part.splitlines()) for part in (lines(text),)]
    assert parts == [1] or not text.strip()
    plain = shape(markdown(full("x\n" * max(len([one for one in text.splitlines() if one.strip()]), 1))))
    assert shape(markdown(full(text))) == plain


alphabet = st.sampled_from(
    [*"ab12 |`*_[]()<>!&#@:/\\~$-+.=\"'{}\n\r\t", "\u202e", "\ud800", "www.", "https://", "\x1b"]
)


@given(st.lists(alphabet, max_size=30).map("".join))
def test_text_that_stays_text(text: str) -> None:
    cell = f"| a | b |\n| --- | --- |\n| {lines(text)} | {code(text)} |\n\n{escape(text)}"
    found = tokens(cell)
    assert sum(one.type == "td_open" for one in found) == 2
    kinds = {one.type for one in found if one.nesting == 0} - {"inline"}
    assert kinds <= {"text", "text_special", "html_inline"}
    assert all(OURS.fullmatch(one.content) for one in found if one.type == "html_inline")
    assert not {"link_open", "em_open", "strong_open", "s_open", "image"} & {one.type for one in found}


def test_what_renderers_beyond_the_standard_would_link() -> None:
    for text in ("https://example.org", "www.example.org", "@team", "#12", "a :tada: b", "$x$"):
        assert not re.search(r"://|www\.|@|(?<!&)#|:tada:|\$", escape(text))
    assert escape("//runtime:none-cu13-amd64 Make") == "//runtime:none-cu13-amd64 Make"


@given(st.lists(alphabet, max_size=30).map("".join).filter(lambda text: text.strip().isprintable()))
def test_text_is_read_as_it_was(text: str) -> None:
    found = tokens(f"| {escape(text.strip())} |\n| --- |\n")
    assert "".join(one.content for one in found if one.type in ("text", "text_special")) == text.strip()


FENCES = ["```\n## out", "````\n~~~~\n`````", "</details>", "~~~", "a\r\nb\x1b[31m\u202e", "`" * 500]


@pytest.mark.parametrize("tail", FENCES)
def test_a_log_stays_in_its_fence(tail: str) -> None:
    told = page(failures=[Failure("//:x Make", "failed", "BUILD.py:3", "exit 1", tail)], rows=[("//:a", "built", "1")])
    found = [one for one in PARSER.parse(markdown(told)) if one.type == "fence"]
    assert len(found) == 1
    assert tail.splitlines()[-1][:200].replace("\x1b", "\\x1b").replace("\u202e", "\\x202e") in found[0].content
    assert sum(one.type == "table_open" for one in PARSER.parse(markdown(told))) == 3


def test_a_page_is_never_too_long() -> None:
    long, many = "`|<&" * 500, 200
    failures = [Failure(long, "failed", long, long, f"{long}\n" * 100)] * many
    reasons = [Reason(long, [long] * 100, [long] * 100, 1)] * many
    told = page(rows=[(long, "built", long)] * many, failures=failures, path=[(long, 1.0)] * many, reasons=reasons)
    text = markdown(told)
    assert len(text.encode()) < LIMIT + 200
    assert text.count("<summary>The end of the log") <= TAILS
    assert f"and {many - ROWS} more" in text


def test_what_does_not_fit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hermetic.report.summary_md.LIMIT", 120)
    text = markdown(page(rows=[("//:a", "built", "sha256:12" * 9)]))
    assert text.startswith("## hb build") and "too long" in text and "sha256" not in text


def test_a_text_that_begins_with_spaces_is_no_code() -> None:
    assert escape("    a") == "&#32;   a"
