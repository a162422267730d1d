"""BUILD files that are wrong: each says what, where, and what to do. The cases are data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hermetic import errors
from hermetic.errors import HbError
from hermetic.loading.loader import Loader

CASES = json.loads((Path(__file__).parents[2] / "cases" / "build_files.json").read_text(encoding="utf-8"))


def source_of(case: dict) -> bytes:
    if "bytes" in case:
        return bytes.fromhex(case["bytes"])
    if "repeat" in case:
        head, left, count, right, tail = case["repeat"]
        return (head + left * count + right * count + tail).encode()
    return case["source"].encode()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "loop_a.py").write_text("from loop_b import x\n")
    (tmp_path / "loop_b.py").write_text("from loop_a import x\n")
    (tmp_path / "good.py").write_text("value = [1]\n")
    (tmp_path / "selects.py").write_text("x = select({'a=b': 1})\n")
    (tmp_path / "rootlink").symlink_to("/")
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_wrong_build_file(case: dict, workspace: Path) -> None:
    package = case.get("file", "")
    (workspace / package).mkdir(exist_ok=True)
    (workspace / package / "BUILD.py").write_bytes(source_of(case))
    with pytest.raises(HbError) as caught:
        Loader(workspace).package(package)
    error = caught.value
    assert type(error) is getattr(errors, case["error"]), error
    assert case["phrase"] in str(error)
    assert error.exit_code == 7
    if "line" in case:
        assert error.location is not None
        assert str(error.location) == f"{package}/BUILD.py:{case['line']}".lstrip("/")


@pytest.mark.parametrize("make", ["fifo", "loop", "folder", "huge"])
def test_strange_files(make: str, tmp_path: Path) -> None:
    path = tmp_path / "BUILD.py"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "loop":
        path.symlink_to("BUILD.py")
    elif make == "folder":
        path.mkdir()
    else:
        with path.open("wb") as stream:
            stream.truncate(2 << 30)
    with pytest.raises(HbError) as caught:
        Loader(tmp_path).package("")
    assert caught.value.exit_code == 7


def test_a_value_imported_twice_is_copied(tmp_path: Path) -> None:
    """One package cannot change what another imports."""
    (tmp_path / "shared.py").write_text("names = ['a']\n")
    for package in ("p", "q"):
        (tmp_path / package).mkdir()
    (tmp_path / "p" / "BUILD.py").write_text("from shared import names\nnames.append('evil')\n")
    (tmp_path / "q" / "BUILD.py").write_text("from shared import names\nassert names == ['a'], names\n")
    loader = Loader(tmp_path)
    loader.package("p")
    loader.package("q")


def test_macros_report_the_line_in_build_py(tmp_path: Path) -> None:
    (tmp_path / "macros.py").write_text(
        "from rules.basic import filegroup\n\ndef make(name):\n    filegroup(name=name)\n"
    )
    (tmp_path / "BUILD.py").write_text("from macros import make\n\n\nmake(name='x')\n")
    declaration = Loader(tmp_path).package("").declarations["x"]
    assert str(declaration.location) == "BUILD.py:4"


def test_bytecode_is_cached_and_a_damaged_entry_is_a_miss(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (tmp_path / "BUILD.py").write_text("from rules.basic import filegroup\nfilegroup(name='x')\n")
    Loader(tmp_path, cache).package("")
    (entry,) = cache.iterdir()
    entry.write_bytes(b"damaged" + entry.read_bytes())
    assert "x" in Loader(tmp_path, cache).package("").declarations
    assert "x" in Loader(tmp_path, cache).package("").declarations


def test_glob_is_sorted_stays_in_its_package_and_is_recorded(tmp_path: Path) -> None:
    for path in ("b.c", "a.c", "sub/c.c", "other/BUILD.py", "other/d.c", "hb-out/e.c", "skip.c"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "BUILD.py").write_text(
        "found = glob(['**/*.c'], exclude=['skip.c'])\nassert found == ['a.c', 'b.c', 'sub/c.c'], found\n"
    )
    package = Loader(tmp_path).package("")
    assert package.globs == ((("**/*.c",), ("skip.c",), ("a.c", "b.c", "sub/c.c")),)


def test_glob_does_not_see_what_hb_makes(tmp_path: Path) -> None:
    for path in (".hb/bytecode/x", "hb-out/y", "inner/.hb/z", "inner/a.txt", ".hidden"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "BUILD.py").write_text(
        "found = glob(['**'])\nassert found == ['.hidden', 'BUILD.py', 'inner/a.txt'], found\n"
    )
    assert Loader(tmp_path).package("").globs
