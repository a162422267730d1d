"""The live lines as text: never too wide, the most telling part kept, nothing of a log obeyed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.report.live import Running, Totals, block, fitted, plain, running_line, to_go, totals_line, width

names = st.text(st.characters(codec="utf-8"), max_size=120)
running = st.builds(
    Running, names, names, st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from(["", "runs", "sets up"]), st.integers(0, 1 << 45)
)  # fmt: skip
counts = st.integers(0, 10_000)
totals = st.builds(Totals, counts, counts, counts, counts, counts, st.floats(0, 1e6))


@given(totals, st.lists(running, max_size=30), st.integers(1, 200), st.integers(1, 40))
def test_a_block_is_as_wide_and_as_high_as_it_may_be(
    all_of: Totals, some: list[Running], columns: int, rows: int
) -> None:
    lines = block(all_of, some, columns, rows)
    assert 1 <= len(lines) <= rows
    assert all(width(line) <= columns for line in lines)
    if rows > len(some):
        assert len(lines) == 1 + len(some), "what fits is shown"


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "[3/200] 4 running, 100 cached, 96 waiting, about 5 min to go"),
        (50, "[3/200] 4 running, 96 waiting, about 5 min to go"),
        (40, "[3/200] 4 running, about 5 min to go"),
        (20, "[3/200] 4 running"),
        (10, "[3/200] 4 "),
    ],
)
def test_the_totals_leave_out_what_tells_least(columns: int, line: str) -> None:
    assert totals_line(Totals(3, 200, 4, 100, 96, 300), columns) == line


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "    12.3 s of 100  //container/native:ucx Make  runs  3.0 GiB"),
        (60, "    12.3 s of 100  …container/native:ucx Make  runs  3.0 GiB"),
        (55, "    12.3 s of 100  //container/native:ucx Make  3.0 GiB"),
        (45, "    12.3 s of 100  …container/native:ucx Make"),
        (24, "    12.3 s of 100  …Make"),
    ],
)
def test_a_label_gives_way_from_its_beginning_then_the_phase_then_the_memory(columns: int, line: str) -> None:
    assert running_line(Running("//container/native:ucx", "Make", 12.34, 100, "runs", 3 << 30), columns) == line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, ""), (1, "about 1 s to go"), (89, "about 89 s to go"), (300, "about 5 min to go")]
)
def test_the_time_to_go(seconds: float, text: str) -> None:
    assert to_go(seconds) == text


@pytest.mark.parametrize(("text", "columns"), [("a", 1), ("日本", 4), ("e\u0301", 1), ("\u200b", 0), ("🧱", 2)])
def test_widths(text: str, columns: int) -> None:
    assert width(text) == columns


@given(names, st.integers(1, 60))
def test_the_end_of_a_text(text: str, columns: int) -> None:
    found = fitted(text, columns)
    assert width(found) <= columns
    assert found == text or text.endswith(found[1:])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("line\r\nnext", "line\nnext"),
        ("\x1b]52;c;ZXZpbA==\x07clip", "clip"),
        ("\x1b]0;a title\x1b\\text", "text"),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\image", "image"),
        ("\x1b[?1049h\x1b[2J\x1b[Hfull", "full"),
        ("\x1b(0charset", "charset"),
        ("\x1b7saved\x1b8", "saved"),
        ("\x9b31mC1\x07\x08\x00", "31mC1"),
        ("a\tb", "a\tb"),
        ("cut \x1b[3", "cut 3"),
        ("cut \x1b", "cut "),
    ],
)
def test_nothing_of_a_log_is_obeyed(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(st.sampled_from("\x1b[]0123;mJ\r\n\t\x07\\ab\x9b\x90P?hé"), max_size=40))
def test_no_control_character_is_left(text: str) -> None:
    assert all(one in "\n\t" or unicodedata.category(one) != "Cc" for one in plain(text))
