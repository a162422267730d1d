"""Packages become trees: owners, the merged /usr, replacements, conflicts, the database."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermetic.errors import ActionError, ArchiveError, HbError, InternalError
from hermetic.store.disk import DiskStore
from hermetic.store.stage import DiskStage
from hermetic.tree import Directory, Meta, Symlink

BASE = {"bin": "-> usr/bin", "lib": "-> usr/lib", "usr/bin": None, "usr/lib": None, "tmp": (0o1777, 0, 0)}


@pytest.mark.parametrize("codec", ["xz", "gz", "bz2", ""])
def test_every_compression_gives_the_same_trees(unpacker: Any, make_deb: Any, codec: str) -> None:
    files = {"usr": None, "usr/bin": None, "usr/bin/tool": ("x", 0o755, 0, 0)}
    assert unpacker.deb(make_deb("tool", files, codec=codec)) == unpacker.deb(make_deb("tool", files))


def test_owners_modes_and_links_are_the_packages(unpacker: Any, make_deb: Any) -> None:
    files = {"var": None, "var/mail": (0o2775, 0, 8), "usr/bin/su": ("s", 0o4755, 0, 0), "usr/bin/s": "-> su"}
    root = unpacker.deb(make_deb("tool", files))["data"].digest
    assert unpacker.node(root, "var/mail").meta == Meta(mode=0o2775, gid=8)
    assert unpacker.node(root, "usr/bin/su").mode == 0o4755
    assert unpacker.node(root, "usr/bin/s") == Symlink("su")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_old_directories_land_below_usr_in_any_order(unpacker: Any, make_deb: Any, order: tuple[int, ...]) -> None:
    debs = [
        make_deb("base-files", BASE),
        make_deb("old", {"bin": None, "bin/old": ("old", 0o755, 0, 0), "lib/libold.so": "elf"}),
        make_deb("new", {"usr/bin/new": "new"}),
    ]
    root = unpacker.rootfs(*(debs[number] for number in order))
    assert unpacker.node(root, "bin") == Symlink("usr/bin")
    assert unpacker.text(root, "usr/bin/old") == "old"
    assert unpacker.text(root, "usr/lib/libold.so") == "elf"
    assert "/bin/old\n" in unpacker.text(root, "var/lib/dpkg/info/old.list")


@pytest.mark.parametrize("target", ["/srv/real", "../srv/real", "real-too"])
def test_a_directory_below_anothers_link_lands_where_the_link_points(unpacker: Any, make_deb: Any, target: str) -> None:
    place = {"/srv/real": "srv/real", "../srv/real": "srv/real", "real-too": "opt/real-too"}[target]
    debs = [make_deb("aa", {"opt/link": f"-> {target}", place: None}), make_deb("bb", {"opt/link/deep/file": "b"})]
    for pair in (debs, debs[::-1]):
        root = unpacker.rootfs(*pair)
        assert unpacker.node(root, "opt/link") == Symlink(target)
        assert unpacker.text(root, f"{place}/deep/file") == "b"


def test_links_that_lead_in_a_circle_are_refused(unpacker: Any, make_deb: Any) -> None:
    debs = [make_deb("aa", {"x": "-> y", "y": "-> x"}), make_deb("bb", {"x/file": ""})]
    with pytest.raises(ActionError, match="circle"):
        unpacker.rootfs(*debs)


def test_what_lands_at_the_same_place_by_a_link_is_still_a_conflict(unpacker: Any, make_deb: Any) -> None:
    debs = [make_deb("base-files", BASE), make_deb("aa", {"bin/x": "a"}), make_deb("bb", {"usr/bin/x": "b"})]
    with pytest.raises(ActionError, match="packages aa and bb both have /usr/bin/x"):
        unpacker.rootfs(*debs)


def test_a_conflict_names_both_packages(unpacker: Any, make_deb: Any) -> None:
    with pytest.raises(ActionError, match="packages one and two both have /usr/bin/x"):
        unpacker.rootfs(make_deb("one", {"usr/bin/x": "1"}), make_deb("two", {"usr/bin/x": "2"}))


def test_a_file_and_a_directory_are_a_conflict_even_for_a_replacement(unpacker: Any, make_deb: Any) -> None:
    debs = [make_deb("one", {"x": "1"}), make_deb("two", {"x/file": ""}, Replaces="one")]
    with pytest.raises(ActionError, match="packages one and two both have /x"):
        unpacker.rootfs(*debs)


def test_the_same_file_twice_is_no_conflict(unpacker: Any, make_deb: Any) -> None:
    same = {"usr/share/doc/lib/copyright": "free"}
    debs = [make_deb("lib", same, Architecture=arch, Multi_Arch="same") for arch in ("amd64", "arm64")]
    assert unpacker.text(unpacker.rootfs(*debs), "usr/share/doc/lib/copyright") == "free"


def test_two_architectures_that_differ_are_told_apart(unpacker: Any, make_deb: Any) -> None:
    debs = [make_deb("lib", {"x": arch}, Architecture=arch, Multi_Arch="same") for arch in ("amd64", "arm64")]
    with pytest.raises(ActionError, match="lib:amd64 and lib:arm64 both have /x"):
        unpacker.rootfs(*debs)


@pytest.mark.parametrize(
    ("relation", "fits"),
    [("old", True), ("old (<< 2)", True), ("other, old (= 1.0)", True), ("old (<< 1.0)", False), ("older", False)],
)
def test_a_replacement_wins_when_its_version_fits(unpacker: Any, make_deb: Any, relation: str, fits: bool) -> None:
    old, new = make_deb("old", {"f": "old", "g": "same"}), make_deb("new", {"f": "new", "g": "same"}, Replaces=relation)
    for pair in ((old, new), (new, old)):
        if fits:
            assert unpacker.text(unpacker.rootfs(*pair), "f") == "new"
        else:
            with pytest.raises(ActionError, match="both have /f"):
                unpacker.rootfs(*pair)


def test_replacing_one_package_does_not_replace_a_third(unpacker: Any, make_deb: Any) -> None:
    debs = [
        make_deb("old", {"f": "old"}),
        make_deb("new", {"f": "new", "g": "new"}, Replaces="old"),
        make_deb("third", {"g": "third"}),
    ]
    for order in itertools.permutations(debs):
        with pytest.raises(ActionError, match="both have /g"):
            unpacker.rootfs(*order)


def test_a_directory_keeps_the_mode_that_one_package_gives_it(unpacker: Any, make_deb: Any) -> None:
    debs = [make_deb("aa", {"tmp": None, "tmp/a": ""}), make_deb("bb", BASE), make_deb("cc", {"tmp": None})]
    for order in itertools.permutations(debs):
        assert unpacker.node(unpacker.rootfs(*order), "tmp").mode == 0o1777


# --- the database -----------------------------------------------------------------------------------


def full_package(make_deb: Any) -> bytes:
    return bytes(
        make_deb(
            "full",
            {"etc/full.conf": "setting\n", "usr/share/full/data": "d"},
            scripts={
                "conffiles": "/etc/full.conf\nremove-on-upgrade /etc/gone.conf\n",
                "postinst": ("#!/bin/sh\n", 0o755, 0, 0),
                "md5sums": "x  usr/share/full/data\n",
                "triggers": "# comment\ninterest-noawait /usr/share/full\ninterest full-changed\nactivate-noawait ldconfig\n",
            },
            Depends="libc6 (>= 2.38)",
        )
    )


def test_the_database_is_dpkgs(unpacker: Any, make_deb: Any) -> None:
    root = unpacker.rootfs(full_package(make_deb))
    status = unpacker.text(root, "var/lib/dpkg/status")
    md5 = hashlib.md5(b"setting\n").hexdigest()
    assert "Package: full\nStatus: install ok unpacked\n" in status
    assert f"Conffiles:\n /etc/full.conf {md5}\n" in status
    assert "/etc/gone.conf" not in status
    assert "Description: a test\n of packages\n" in status
    info = "var/lib/dpkg/info/full"
    assert unpacker.text(root, f"{info}.list").split() == [
        "/.", "/etc", "/etc/full.conf", "/usr", "/usr/share", "/usr/share/full", "/usr/share/full/data",
    ]  # fmt: skip
    assert unpacker.node(root, f"{info}.postinst").executable
    assert not unpacker.node(root, f"{info}.md5sums").executable
    assert unpacker.node(root, f"{info}.control") is None
    assert unpacker.text(root, "var/lib/dpkg/triggers/File") == "/usr/share/full full/noawait\n"
    assert unpacker.text(root, "var/lib/dpkg/triggers/full-changed") == "full\n"
    assert unpacker.text(root, "var/lib/dpkg/arch") == "amd64\n"


def test_multi_arch_same_has_the_architecture_in_its_files(unpacker: Any, make_deb: Any) -> None:
    debs = [
        make_deb("lib", {f"usr/lib/{arch}/l": arch}, Architecture=arch, Multi_Arch="same")
        for arch in ("amd64", "arm64")
    ]
    root = unpacker.rootfs(*debs, state="installed")
    names = set(unpacker.node(root, "var/lib/dpkg/info").entries)
    assert names == {"format", "lib:amd64.list", "lib:arm64.list"}
    assert unpacker.text(root, "var/lib/dpkg/arch") == "amd64\narm64\n"
    assert unpacker.text(root, "var/lib/dpkg/status").count("Status: install ok installed\n") == 2


def test_one_package_in_two_versions_is_refused(unpacker: Any, make_deb: Any) -> None:
    with pytest.raises(ActionError, match="full is there twice"):
        unpacker.rootfs(make_deb("full", {}, Version="1"), make_deb("full", {}, Version="2"))


def test_an_unknown_state_is_a_defect(unpacker: Any, make_deb: Any) -> None:
    with pytest.raises(InternalError):
        unpacker.rootfs(make_deb("full", {}), state="half")


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="no dpkg on this machine")
def test_dpkg_reads_the_database(tmp_path: Path, store: DiskStore, make_deb: Any, unpacker: Any) -> None:
    """dpkg itself, asked about a staged root: versions, states, files, sums of conffiles, owners of paths."""
    disk = type(unpacker)(store)
    lib = make_deb("lib", {"usr/lib/l": "l"}, Multi_Arch="same", Version="2:1.0~rc1-1+b2")
    root = disk.rootfs(full_package(make_deb), lib)
    admin = DiskStage(store).tree(root) / "var/lib/dpkg"

    def query(*words: str) -> str:
        argv = ["dpkg-query", f"--admindir={admin}", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    listed = query("-W", "-f=${binary:Package} ${Version} ${db:Status-Abbrev}${Conffiles}\n")
    md5 = hashlib.md5(b"setting\n").hexdigest()
    assert listed == f"full 1.0 iU  /etc/full.conf {md5}\nlib:amd64 2:1.0~rc1-1+b2 iU \n"
    assert "/usr/lib/l" in query("-L", "lib")
    assert query("-S", "/etc/full.conf") == "full: /etc/full.conf\n"


# --- what must be refused ---------------------------------------------------------------------------

HOSTILE = {
    "name with a path": {"Package": "../../etc/cron.d/x"},
    "name with a slash": {"Package": "a/b"},
    "name in capitals": {"Package": "Full"},
    "version with a space": {"Version": "1.0 rm"},
    "version with a newline and a field": {"Version": "1.0\nPackage: other"},
    "architecture with dots": {"Architecture": "../amd64"},
    "field without a colon": {"X": "y\nnonsense"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_control_file_is_refused(unpacker: Any, make_deb: Any, name: str) -> None:
    with pytest.raises(ArchiveError, match="control file"):
        unpacker.rootfs(make_deb("full", {}, **HOSTILE[name]))


@pytest.mark.parametrize(
    "files",
    [
        {"../outside": "x"},
        {"usr/../../outside": "x"},
        {"dev": "-> /etc"},
        {"a": "-> b", "a/file": "x"},
        {"a": "x", "a/file": "x"},
        {".wh.gone": ""},
    ],
    ids=str,
)
def test_hostile_members_are_refused(unpacker: Any, make_deb: Any, files: dict[str, Any]) -> None:
    with pytest.raises(ArchiveError):
        unpacker.deb(make_deb("full", files))


def test_a_package_without_a_control_file_is_refused(unpacker: Any, make_deb: Any) -> None:
    empty = unpacker.deb(make_deb("full", {}))["data"]
    from hermetic.fetch.deb_unpack import read_package

    with pytest.raises(ArchiveError, match="no control file"):
        read_package(empty.digest, empty.digest, unpacker.store)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 600), flip=st.integers(0, 600), value=st.integers(0, 255))
def test_a_damaged_package_is_an_error_of_ours(unpacker: Any, make_deb: Any, cut: int, flip: int, value: int) -> None:
    data = bytearray(make_deb("full", {"usr/bin/tool": "x" * 50}))
    data[flip % len(data)] = value
    try:
        made = unpacker.rootfs(bytes(data[: len(data) - cut]))
    except HbError as error:
        assert not isinstance(error, InternalError)
    else:
        assert isinstance(Directory.decode(unpacker.store.read(made)), Directory)


NAMES = st.sampled_from(["usr/bin/a", "usr/bin/b", "usr/lib/c/d", "etc/e", "bin/f", "lib/c/g"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.dictionaries(NAMES, st.sampled_from(["1", "2"]), max_size=4), min_size=1, max_size=4), st.randoms())
def test_the_union_does_not_depend_on_the_order(
    unpacker: Any, make_deb: Any, packages: list[dict[str, str]], random: Any
) -> None:
    debs = [make_deb("base-files", BASE)]
    debs += [make_deb(f"p{number}", files) for number, files in enumerate(packages)]

    def outcome(order: list[bytes]) -> object:
        try:
            return unpacker.rootfs(*order)
        except ActionError:
            return "conflict"

    shuffled = list(debs)
    random.shuffle(shuffled)
    first = outcome(debs)
    assert outcome(shuffled) == first
    wanted: dict[str, set[str]] = {}
    for files in packages:
        for path, text in files.items():
            moved = f"usr/{path}" if path.startswith(("bin/", "lib/")) else path
            wanted.setdefault(moved, set()).add(text)
    if first != "conflict":
        assert all({unpacker.text(first, path)} == texts for path, texts in wanted.items())
    else:
        assert any(len(texts) > 1 for texts in wanted.values())
