"""Large blobs are many frames: whatever the pieces they come in, the content comes out, or an error."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.store.remote import frames
from hermetic.store.remote.frames import BLOCK, PARALLEL, BadFrame, expand, frame_of, whole_frames

RNG = random.Random(5)
WORDS = [RNG.randbytes(8) for _ in range(500)]
CONTENT = {
    "compressible": b"".join(RNG.choices(WORDS, k=(PARALLEL + BLOCK // 2) // 8)),
    "incompressible": RNG.randbytes(PARALLEL + 1),
    "zeros": bytes(5 * BLOCK),
}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def packed(content: bytes) -> bytes:
    return b"".join(frame_of(io.BytesIO(content), len(content), 1 << 20))


def unpacked(data: bytes, limit: int, size: int = 1 << 20) -> bytes:
    sink = io.BytesIO()
    expand(pieces(data, size), sink, limit)
    return sink.getvalue()


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("size", [100_003, 1 << 20, 8 << 20])
def test_what_goes_in_comes_out(name: str, size: int) -> None:
    content = CONTENT[name]
    data = packed(content)
    assert len(list(whole_frames(pieces(data, size)))) == -(-len(content) // BLOCK)
    assert unpacked(data, len(content), size) == content


def test_any_decoder_of_zstd_reads_it() -> None:
    content = CONTENT["compressible"]
    reader = zstandard.ZstdDecompressor().stream_reader(packed(content), read_across_frames=True)
    assert reader.read() == content


def test_a_large_blob_in_one_frame_is_read_as_well() -> None:
    content = CONTENT["compressible"]
    assert unpacked(zstandard.ZstdCompressor().compress(content), len(content)) == content


def test_pieces_have_the_asked_size() -> None:
    content = CONTENT["incompressible"]
    sizes = [len(piece) for piece in frame_of(io.BytesIO(content), len(content), 1 << 20)]
    assert set(sizes[:-1]) == {1 << 20} and 0 < sizes[-1] <= 1 << 20


SMALL = [b"", b"a", b"abc" * 1000, bytes(200_000), RNG.randbytes(150_000)]


@settings(deadline=None)
@given(st.lists(st.sampled_from(SMALL), max_size=5), st.integers(1, 70_000), st.booleans())
def test_frames_are_found_whatever_the_pieces(contents: list[bytes], size: int, checksum: bool) -> None:
    made = [zstandard.ZstdCompressor(write_checksum=checksum).compress(one) for one in contents]
    size = max(size, len(b"".join(made)) // 200 + 1)
    assert list(whole_frames(pieces(b"".join(made), size))) == made


@pytest.mark.parametrize("cut", [1, 17, 5000, 2 << 20])
def test_what_is_cut_off_is_an_error(cut: int) -> None:
    content = CONTENT["compressible"]
    with pytest.raises(BadFrame):
        unpacked(packed(content)[:-cut], len(content))


def test_nothing_beyond_the_limit_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(BLOCK)) * 1000
    sink = io.BytesIO()
    with pytest.raises(BadFrame, match="longer"):
        expand(pieces(bomb, 100_000), sink, 5 * BLOCK)
    assert len(sink.getvalue()) <= 5 * BLOCK
    swollen = frames.compress(b"x") + zstandard.ZstdCompressor().compress(bytes(BLOCK + 1))
    with pytest.raises(BadFrame, match="more than was announced"):
        unpacked(swollen, PARALLEL + 1)


ZEROS = packed(bytes(PARALLEL) + b"end")


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_damage_is_an_error_or_shows_in_the_content(data: st.DataObject) -> None:
    """Never a hang, a crash, or more than was announced; the digest tells the rest."""
    whole = bytearray(ZEROS)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadFrame):
        assert len(unpacked(bytes(whole), PARALLEL + 3)) <= PARALLEL + 3
