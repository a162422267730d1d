"""What a secret looks like in text, and that none of it gets through, however the text is cut."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hermetic.errors import ActionError
from hermetic.needles import Needles, forms
from hermetic.redact import Redactor, redacted, without
from hermetic.secret import SHORTEST, Secret

VALUE = 'pa/ss+wörd & "more"=1'.encode()
values = st.binary(min_size=SHORTEST, max_size=40).filter(lambda one: len(one.strip()) >= SHORTEST)
KEY = (
    "-----BEGIN KEY-----\n"
    + "\n".join(base64.b64encode(bytes([n] * 48)).decode() for n in range(3))
    + "\n-----END KEY-----\n"
)


def streamed(pieces: list[bytes], *secrets: Secret) -> bytes:
    redactor = Redactor(secrets)
    return b"".join([*map(redactor.feed, pieces), redactor.end()])


def in_base64(before: bytes, after: bytes) -> bytes:
    return base64.b64encode(before + VALUE + after)


SHAPES = {
    "itself": VALUE,
    "in a line": b"password: " + VALUE + b"\n",
    "base64": base64.b64encode(VALUE),
    "base64 with a line break": base64.b64encode(VALUE + b"\n"),
    "base64 of a header, offset 1": in_base64(b"u", b""),
    "base64 of a header, offset 2": in_base64(b"u:", b"x"),
    "base64 of a header, offset 0": in_base64(b"us:", b"xy"),
    "urlsafe base64": base64.urlsafe_b64encode(b"x" + VALUE),
    "hexadecimal": VALUE.hex().encode(),
    "upper case hexadecimal": VALUE.hex().upper().encode(),
    "quoted for a query": urllib.parse.quote(VALUE, safe="").encode(),
    "quoted for a path": urllib.parse.quote(VALUE).encode(),
    "JSON": json.dumps({"a": VALUE.decode()}).encode(),
    "JSON in UTF-8": json.dumps({"a": VALUE.decode()}, ensure_ascii=False).encode(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_form_is_found(shape: str) -> None:
    secret = Secret("TOKEN", VALUE + b"\n")
    assert Needles([secret]).first(b"before " + SHAPES[shape] + b" after") == "TOKEN"
    out = streamed([SHAPES[shape]], secret)
    assert b"[secret TOKEN]" in out
    assert VALUE not in out


@pytest.mark.parametrize("width", [64, 76])
def test_wrapped_base64(width: int) -> None:
    value = bytes(range(33, 126)) * 3
    text = base64.b64encode(value).decode()
    wrapped = "\n".join(text[at : at + width] for at in range(0, len(text), width)).encode()
    out = streamed([wrapped], Secret("KEY", value))
    assert out.count(b"[secret KEY]") == len(text) // width
    assert len(out) < len(wrapped) / 2


def test_the_lines_of_a_key_are_found_by_themselves() -> None:
    secret = Secret("KEY", KEY.encode())
    for line in KEY.splitlines()[1:4]:
        assert redacted(f"  {line}", [secret]) == "  [secret KEY]"
    assert redacted("-----BEGIN KEY-----", [secret]) == "-----BEGIN KEY-----"


@given(st.lists(st.binary(max_size=12)), values, values, st.data())
def test_how_it_is_cut_does_not_matter(noise: list[bytes], one: bytes, two: bytes, data: st.DataObject) -> None:
    secrets = [Secret("ONE", one), Secret("TWO", two)]
    some = [*(form for value in (one, two) for form in forms(value)), *noise]
    text = b"".join(data.draw(st.lists(st.sampled_from(some), max_size=8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert streamed(pieces, *secrets) == streamed([text], *secrets)


few = st.binary(min_size=SHORTEST, max_size=12).map(lambda raw: bytes(97 + one % 3 for one in raw))  # overlap often


@given(st.lists(few, min_size=1, max_size=3), st.data())
def test_against_a_model_that_sees_all_at_once(found: list[bytes], data: st.DataObject) -> None:
    """Every byte of every form is gone, and no other."""
    needles = [form for value in found for form in forms(value)]
    pieces = data.draw(st.lists(st.sampled_from(needles) | st.text("abc", max_size=9).map(str.encode), max_size=9))
    text = b"".join(pieces)
    gone: set[int] = set()
    for form in needles:
        at = text.find(form)
        while at >= 0:
            gone.update(range(at, at + len(form)))
            at = text.find(form, at + 1)
    out = streamed(pieces, *(Secret(f"S{number}", value) for number, value in enumerate(found)))
    assert re.sub(rb"\[secret S\d\]", b"", out) == bytes(one for at, one in enumerate(text) if at not in gone)


@given(st.binary(max_size=300), values)
@example(b"a" * 100, b"a" * 8)
@example(b"abababababababab" * 4, b"abababab")
def test_nothing_is_left_and_nothing_else_is_lost(text: bytes, value: bytes) -> None:
    """The marks' own letters could make a form anew only for a value that is part of a mark."""
    secret = Secret("S", value)
    found = forms(value)
    assume(not any(form in b"[secret S][secret S]" for form in found))
    out = streamed([text + value + text], secret)
    left = out.split(b"[secret S]")
    assert not any(form in piece for form in found for piece in left)
    if not any(form in text + b"\0" + text for form in found) and value.strip() == value:
        assert out.count(b"[secret S]") >= 1


@given(st.binary(max_size=200))
def test_text_without_a_value_stays_as_it_is(text: bytes) -> None:
    secret = Secret("S", b"0123456789abcdef-not-in-it")
    assume(Needles([secret]).first(text) is None)
    assert streamed([text[:7], text[7:]], secret) == text
    assert streamed([text]) == text


def test_values_that_overlap_and_contain_each_other_leave_nothing() -> None:
    short, long = Secret("SHORT", b"abcdefgh"), Secret("LONG", b"abcdefgh12345678")
    for text in (b"abcdefgh12345678", b"xabcdefgh12345678x"):
        for cut in range(len(text)):
            out = streamed([text[:cut], text[cut:]], short, long)
            assert b"12345678" not in out and b"abcdefgh" not in out
    first, second = Secret("A", b"12345678ab"), Secret("B", b"ab87654321")
    assert streamed([b"<12345678ab87654321>"], first, second) == b"<[secret A]>"


def test_what_is_kept_back_is_bounded() -> None:
    redactor = Redactor([Secret("S", b"a" * 20)])
    for _ in range(1000):
        redactor.feed(b"a" * 1000)
    assert len(redactor._pending) < 200


def test_no_representation_shows_a_value() -> None:
    secret = Secret("TOKEN", b"hunter2-hunter2")
    for text in (repr(secret), str(secret), f"{[secret]}", repr({"a": secret})):
        assert "hunter2" not in text and "TOKEN" in text


def test_an_error_is_cleaned_in_all_its_parts() -> None:
    secret = Secret("TOKEN", b"hunter2-hunter2")
    try:
        try:
            raise OSError("hunter2-hunter2")
        except OSError as cause:
            raise ActionError("no hunter2-hunter2 here", hint="not hunter2-hunter2") from cause
    except ActionError as error:
        cleaned = without(error, [secret])
    assert "hunter2" not in f"{cleaned} {cleaned!r} {cleaned.args} {cleaned.to_dict()}"
    assert cleaned.__cause__ is None and cleaned.__context__ is None
