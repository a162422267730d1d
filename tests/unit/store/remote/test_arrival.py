"""A blob that comes in is hashed and written once, whole or with an error."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.digest import Digest
from hermetic.store.remote.arrival import LARGE, Arrival

FULL = Path("/dev/full")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=40), st.booleans())
def test_the_digest_is_that_of_what_was_written(pieces: list[bytes], large: bool) -> None:
    file = io.BytesIO()
    with Arrival(file, LARGE if large else 0) as sink:
        for piece in pieces:
            sink.write(piece)
    assert file.getvalue() == b"".join(pieces)
    assert sink.digest == Digest.of(file.getvalue())


@pytest.mark.parametrize("size", [0, LARGE])
def test_a_full_disk_is_not_overlooked(size: int) -> None:
    with (
        FULL.open("wb", buffering=0) as file,
        pytest.raises(OSError, match="space") as caught,
        Arrival(file, size) as sink,
    ):
        sink.write(b"x")
    assert caught.value.errno == errno.ENOSPC


def test_who_writes_on_after_a_failure_is_stopped() -> None:
    with FULL.open("wb", buffering=0) as file, pytest.raises(OSError, match="space"), Arrival(file, LARGE) as sink:
        for _ in range(10_000):  # more than may wait
            sink.write(b"x")


def test_an_error_of_the_writer_ends_the_thread() -> None:
    with pytest.raises(KeyError), Arrival(io.BytesIO(), LARGE) as sink:
        sink.write(b"x")
        raise KeyError
    assert sink._thread is not None and not sink._thread.is_alive()
