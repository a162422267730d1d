"""What a compile cache says of itself: numbers from a file that a hostile step wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hermetic.execution.compile_counts import Counts, total
from hermetic.execution.compile_stats import LARGEST, read

# As sccache 0.16 prints it.
REAL = {
    "stats": {
        "compile_requests": 9, "requests_unsupported_compiler": 1, "requests_not_compile": 2,
        "requests_not_cacheable": 1, "requests_executed": 5, "cache_errors": {"counts": {"C/C++": 1}, "adv_counts": {}},
        "cache_hits": {"counts": {"C/C++": 2, "Rust": 1}, "adv_counts": {"c [gcc]": 2}},
        "cache_misses": {"counts": {"CUDA": 1}, "adv_counts": {}}, "cache_timeouts": 1, "cache_read_errors": 0,
        "non_cacheable_compilations": 0, "cache_write_errors": 2, "cache_writes": 1, "not_cached": {"crate-type": 1},
    },
    "cache_location": "s3", "version": "0.16.0",
}  # fmt: skip


def test_what_it_prints(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(json.dumps(REAL))
    found, problem = read(tmp_path / "s")
    assert found is not None and not problem
    counts = Counts.of(found)
    assert (counts.requests, counts.hits, counts.misses, counts.errors) == (9, 3, 1, 4)
    assert counts.uncached == {"crate-type": 1, "not compile": 2, "unsupported compiler": 1}
    assert str(counts) == "9 requests, 3 hits (75 %), 1 misses, 4 not cacheable, 4 errors"
    assert counts.reasons()[0] == "2 not compile"
    assert Counts.from_object(json.loads(json.dumps(counts.to_object()))) == counts
    assert total([counts, counts]).uncached["not compile"] == 4 and str(total([])) == "no requests"


HOSTILE = [
    "", "null", "[]", '{"stats": []}', '{"stats": null}', "{" * 100000, '{"a":' * 5000, '{"stats": {}}',
    '{"stats": {"compile_requests": -5, "cache_hits": 3, "cache_misses": {"counts": []}}}',
    '{"stats": {"compile_requests": 1e400}}', '{"stats": {"compile_requests": "9"}}', '{"stats": {"compile_requests": true}}',
    '{"stats": {"compile_requests": 99999999999999999999999999}}',
    '{"stats": {"cache_hits": {"counts": {"a": 9007199254740992, "b": 9007199254740992}}}}',
    '{"stats": {"cache_errors": {"counts": {"a": 9007199254740992}}, "cache_timeouts": 9007199254740992}}',
    json.dumps({"stats": {"not_cached": {f"reason {n}": 1 for n in range(10000)}}}),
    json.dumps({"stats": {"not_cached": {"\x1b[2J\n" + "x" * 10000: 1, "y": "z"}}}),
    '{"stats": {"not_cached": {"\\ud800": 1}}}', "\x00\xff", "x" * (LARGEST + 5),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:30])
def test_hostile_numbers(tmp_path: Path, text: str) -> None:
    (tmp_path / "s").write_text(text, encoding="utf-8", errors="surrogatepass")
    found, problem = read(tmp_path / "s")
    if found is None:
        assert problem and len(problem) <= 200
        return
    assert len(found.SerializeToString()) < 20000
    counts = Counts.of(found)
    assert all(0 <= one < 1 << 56 for one in (counts.requests, counts.hits, counts.misses, counts.errors))
    assert all(one.isprintable() for one in [str(counts), *counts.reasons()])


def test_why_it_did_not_start(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("sccache: Starting the server...\nsccache: error: Server startup failed: no\nmore\n")
    assert read(tmp_path / "s") == (None, "sccache: error: Server startup failed: no")


def test_nothing_but_a_file_is_read(tmp_path: Path) -> None:
    """A link would lead out of the sandbox, and a FIFO would be waited for."""
    (tmp_path / "secret").write_text(json.dumps(REAL))
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("link", "fifo", "folder", "none"):
        assert read(tmp_path / name)[0] is None
