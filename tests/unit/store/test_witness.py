"""What is noticed between two looks at the disk, and what need not be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hermetic.digest import Digest
from hermetic.listing import listing_digest
from hermetic.store.sections import Damaged, Sections, write_sections
from hermetic.store.witness import Moved, Witness, look

MAGIC = "test 1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_text("1")
    (tmp_path / "a/two").write_text("2")
    (tmp_path / "a/link").symlink_to("one")
    (tmp_path / "a/b/deep").write_text("3")
    return tmp_path


def witness(root: Path) -> Witness:
    files = {path: look(root / path).hash for path in ("a/one", "a/two", "a/link", "a/b/deep")}
    folders = {path: listing_digest(root / path) for path in ("", "a", "a/b")}
    return Witness.take(root, {**files, "a/absent": ""}, folders)


def rewrite_in_place(root: Path) -> None:
    """The same size, and the times it had: only the change time tells."""
    found = os.stat(root / "a/one")
    (root / "a/one").write_text("9")
    os.utime(root / "a/one", ns=(found.st_atime_ns, found.st_mtime_ns))


def swap_with_equal_size(root: Path) -> None:
    (root / "new").write_text("9")
    (root / "new").rename(root / "a/one")


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda root: None, []),
    "edited": (lambda root: (root / "a/one").write_text("11"), ["a/one", "a/link"]),
    "edited, same size and times": (rewrite_in_place, ["a/one", "a/link"]),
    "replaced": (swap_with_equal_size, ["a/one", "a/link"]),
    "touched": (lambda root: os.utime(root / "a/one"), []),
    "made executable": (lambda root: (root / "a/two").chmod(0o755), ["a/two"]),
    "closed to others": (lambda root: (root / "a/two").chmod(0o600), []),
    "removed": (lambda root: (root / "a/b/deep").unlink(), ["a/b/deep", "a/b"]),
    "added": (lambda root: (root / "a/b/new").write_text(""), ["a/b"]),
    "appeared": (lambda root: (root / "a/absent").write_text(""), ["a/absent", "a"]),
    "a folder appeared": (lambda root: (root / "c").mkdir(), [""]),
    "hb's own folders appeared": (lambda root: ((root / "hb-out").mkdir(), (root / ".hb").mkdir()), []),
    "renamed": (lambda root: (root / "a/two").rename(root / "a/2"), ["a/two", "a"]),
    "link led elsewhere": (
        lambda root: ((root / "a/link").unlink(), (root / "a/link").symlink_to("two")),
        ["a/link", "a"],
    ),
    "link led to an equal file": (
        lambda root: (
            (root / "a/b/same").write_text("1"),
            (root / "a/link").unlink(),
            (root / "a/link").symlink_to("b/same"),
        ),
        ["a", "a/b"],
    ),
    "link replaced by its file": (
        lambda root: ((root / "a/link").unlink(), (root / "a/link").write_text("1")),
        ["a/link", "a"],
    ),
    "file replaced by a folder": (lambda root: ((root / "a/two").unlink(), (root / "a/two").mkdir()), ["a/two", "a"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes(root: Path, name: str) -> None:
    before = witness(root)
    assert before.changed() == [] and before.untouched
    change, expected = CHANGES[name]
    change(root)
    assert before.changed() == expected
    if expected:
        assert not before.untouched


def test_a_round_trip(root: Path, tmp_path: Path) -> None:
    before = witness(root)
    write_sections(tmp_path / "w", MAGIC, before.sections())
    with Sections(tmp_path / "w", MAGIC) as sections:
        after = Witness.read(sections)
    assert after.sections() == before.sections()
    assert after == before


def test_a_change_while_it_is_taken(root: Path) -> None:
    with pytest.raises(Moved, match="a/one"):
        Witness.take(root, {"a/one": Digest.of(b"0").hash}, {})
    with pytest.raises(Moved, match="folder a/b"):
        Witness.take(root, {}, {"a/b": Digest.of(b"0").hash})


def test_renewed(root: Path) -> None:
    before = witness(root)
    (root / "a/one").write_text("new")
    new = look(root / "a/one").hash
    after = before.renewed({"a/one": new, "a/link": new})
    assert after.untouched and after.changed() == [] and before.changed() == ["a/one", "a/link"]
    (root / "a/one").write_text("1")
    assert after.changed() == ["a/one", "a/link"]


def test_renewed_after_a_touch(root: Path) -> None:
    before = witness(root)
    os.utime(root / "a/one")
    assert not before.untouched
    assert before.renewed({}).untouched


def test_renewed_sees_what_else_changed(root: Path) -> None:
    before = witness(root)
    (root / "a/two").write_text("new")
    with pytest.raises(Moved, match="a/two"):
        before.renewed({})
    (root / "a/two").write_text("2")
    (root / "a/three").write_text("")
    with pytest.raises(Moved, match="folder a"):
        before.renewed({})


def test_a_link_brings_its_folder(root: Path) -> None:
    before = Witness.take(root, {"a/link": look(root / "a/link").hash}, {})
    (root / "a/b/same").write_text("1")
    (root / "a/link").unlink()
    (root / "a/link").symlink_to("b/same")
    assert before.changed() == ["a"]


@pytest.mark.parametrize("cut", [0, 1, 7, 40, 100, -1])
def test_damage_is_noticed(root: Path, tmp_path: Path, cut: int) -> None:
    place = tmp_path / "w"
    write_sections(place, MAGIC, witness(root).sections())
    place.write_bytes(place.read_bytes()[:cut])
    with pytest.raises(Damaged), Sections(place, MAGIC) as sections:
        Witness.read(sections)


def test_every_flipped_byte_is_noticed(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "w"
    write_sections(place, MAGIC, witness(root).sections())
    data = bytearray(place.read_bytes())
    for at in range(0, len(data), 7):
        data[at] ^= 1
        place.write_bytes(data)
        with pytest.raises(Damaged), Sections(place, MAGIC) as sections:
            Witness.read(sections)
        data[at] ^= 1


def test_another_version(root: Path, tmp_path: Path) -> None:
    write_sections(tmp_path / "w", MAGIC, witness(root).sections())
    with pytest.raises(Damaged), Sections(tmp_path / "w", "test 2"):
        pass
