"""Trees against a model anybody can read: a dictionary from paths to what is there.

The model of a tree has every directory as an entry of its own, the root included. Its operations below are
a few lines each and look at every path; the real ones look only where they must, and must agree.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hermetic import tree
from hermetic.action import Kind
from hermetic.archive.unpack import unpack_stream
from hermetic.digest import EMPTY, Digest
from hermetic.epoch import SOURCE_DATE_EPOCH
from hermetic.errors import ActionError
from hermetic.oci.base import LAYER
from hermetic.oci.tar import entries, write
from hermetic.store.disk import DiskStore
from hermetic.store.ingest import ingest_tree
from hermetic.store.memory import MemoryStore
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.stage import DiskStage, remove_tree
from hermetic.store.treeops import chmeta, select
from hermetic.tree import PLAIN, Directory, File, Meta, Symlink

Flat = dict[str, Any]
LOOSE = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# Few letters make collisions; the rest is what file names really look like somewhere.
NAMES = st.one_of(
    st.sampled_from("abc"),
    st.sampled_from(
        ["a.b", "A", "é", "e\u0301", "日本", "x y", "new\nline", "-rf", "*", "[a]", "\\", "\x7f", "z" * 200]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=8),
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.sampled_from([b"", b"x", b"y", b"long" * 2000])
OWNERS = st.sampled_from([0, 0, 1000, 3_000_000])
XATTRS = st.sampled_from([(), (), (("user.a", b"\0\xff"),), (("security.capability", b"c"), ("user.b", b""))])
MODES = st.one_of(st.none(), st.integers(0, 0o7777))
TARGETS = st.sampled_from(["a", "../a", "/etc/passwd", "é", "x" * 150])


def metas(whiteout: bool = False, **changes: Any) -> st.SearchStrategy[Meta]:
    return st.builds(Meta, mode=MODES, uid=OWNERS, gid=OWNERS, xattrs=XATTRS, **changes)


def nodes(rich: bool, whiteouts: bool = False) -> st.SearchStrategy[Any]:
    """What lies at a path: (content, executable, meta), a Symlink, a Meta for a directory, or "gone"."""
    meta = metas() if rich else st.just(PLAIN)
    owner = st.builds(Meta, uid=OWNERS, gid=OWNERS) if rich else st.just(PLAIN)
    kinds: list[st.SearchStrategy[Any]] = [
        st.tuples(CONTENTS, st.booleans(), meta),
        st.builds(Symlink, TARGETS, owner),
        meta,
    ]
    if whiteouts:
        kinds += [st.just("gone"), st.builds(Meta, opaque=st.booleans())]
    return st.one_of(kinds)


def trees(rich: bool = True, whiteouts: bool = False) -> st.SearchStrategy[Flat]:
    return st.dictionaries(PATHS, nodes(rich, whiteouts), max_size=8).map(possible)


def possible(flat: Flat) -> Flat:
    """Without what lies below a file, with every directory named."""
    kept: Flat = {"": flat.get("", PLAIN)}
    for path in sorted(flat, key=lambda path: path.count("/")):
        above = parents(path)
        if all(isinstance(kept.get(one, PLAIN), Meta) for one in above):
            for one in above:
                kept.setdefault(one, PLAIN)
            kept[path] = flat[path]
    return kept


def parents(path: str) -> list[str]:
    names = path.split("/")
    return ["", *("/".join(names[:count]) for count in range(1, len(names)))] if path else []


def real(flat: Flat, store: Any) -> Digest:
    """The tree of a model."""
    found: dict[str, File | Symlink | Meta] = {}
    for path, node in flat.items():
        if node == "gone":
            found[path] = File(EMPTY, meta=Meta(whiteout=True))
        elif isinstance(node, tuple):
            found[path] = File(store.put(node[0]), node[1], node[2])
        else:
            found[path] = node
    return tree.build(found, store.put)


def model(root: Digest, store: Any) -> Flat:
    """The model of a tree, by the one walk there is."""
    found: Flat = {}
    for path, node in tree.walk(root, store.read):
        if isinstance(node, Directory):
            found[path] = node.meta
        elif isinstance(node, Symlink):
            found[path] = node
        else:
            found[path] = "gone" if node.meta.whiteout else (store.read(node.digest), node.executable, node.meta)
    return found


def plain_modes(flat: Flat) -> Flat:
    """A mode that is the default of its kind is the same as none."""

    def usual(meta: Meta, default: int) -> Meta:
        return Meta(
            None if meta.mode == default else meta.mode, meta.uid, meta.gid, meta.xattrs, meta.whiteout, meta.opaque
        )

    found: Flat = {}
    for path, node in flat.items():
        if isinstance(node, tuple):
            found[path] = (node[0], node[1], usual(node[2], 0o755 if node[1] else 0o644))
        else:
            found[path] = usual(node, 0o755) if isinstance(node, Meta) else node
    return found


@LOOSE
@given(trees(whiteouts=True), st.randoms(use_true_random=False))
def test_building_keeps_everything_in_any_order(flat: Flat, random: Any) -> None:
    store = MemoryStore()
    root = real(flat, store)
    assert model(root, store) == plain_modes(flat)
    paths = list(flat)
    random.shuffle(paths)
    assert real({path: flat[path] for path in paths}, store) == root
    for path, node in flat.items():
        found = tree.lookup(root, path, store.read)
        assert type(found) is (
            tree.Subdir if isinstance(node, Meta) else Symlink if isinstance(node, Symlink) else File
        )
    for data in list(store.blobs.values()):
        if Digest.of(data) in {node.digest for _, node in subdirs(root, store)}:
            assert Directory.decode(data).encode() == data


def subdirs(root: Digest, store: MemoryStore) -> list[tuple[str, tree.Subdir]]:
    found = [("", tree.Subdir(root))]
    for path, digest in found:
        for name, node in Directory.decode(store.read(digest.digest)).entries.items():
            if isinstance(node, tree.Subdir):
                found.append((f"{path}/{name}", node))
    return found


def merged(low: Flat, high: Flat) -> Flat:
    """``high`` put over ``low``, path by path from the top."""
    found = dict(low)

    def remove(path: str, itself: bool) -> None:
        for one in [one for one in found if one.startswith(f"{path}/" if path else "") and one != path]:
            del found[one]
        if itself:
            found.pop(path, None)

    new = set()  # directories only ``high`` has: nothing of ``low`` is there to be hidden
    for path in sorted(high, key=lambda path: path.count("/") + bool(path)):
        node = high[path]
        if any(one in new for one in parents(path)):
            found[path] = node
        elif isinstance(node, Meta):
            if not isinstance(found.get(path), Meta):
                new.add(path)
                found[path] = node
                continue
            if node.opaque:
                remove(path, itself=False)
            bare = Meta(node.mode, node.uid, node.gid, node.xattrs)
            found[path] = found[path] if bare == PLAIN else bare
        else:
            remove(path, itself=True)
            if node != "gone":
                found[path] = node
    return found


@LOOSE
@given(trees(), trees(whiteouts=True))
def test_merging_agrees_with_putting_path_over_path(low: Flat, high: Flat) -> None:
    assume(set(low) != {""} and set(high) != {""} and low != high)  # equal or empty trees are taken whole
    store = MemoryStore()
    low, high = plain_modes(low), plain_modes(high)
    both = tree.merge([real(low, store), real(high, store)], store.read, store.put, replace_files=True)
    assert model(both, store) == merged(low, high)


@LOOSE
@given(trees(whiteouts=True))
def test_a_settled_tree_has_no_deletions(flat: Flat) -> None:
    store = MemoryStore()
    found = model(tree.settled(real(flat, store), store.read, store.put), store)
    want = {path: node for path, node in plain_modes(flat).items() if node != "gone"}
    assert found == {
        path: Meta(node.mode, node.uid, node.gid, node.xattrs) if isinstance(node, Meta) else node
        for path, node in want.items()
    }


@LOOSE
@given(trees(), trees(), trees())
def test_merging_is_associative_and_has_a_neutral_element(one: Flat, two: Flat, three: Flat) -> None:
    store = MemoryStore()

    def merge(*roots: Digest) -> Digest:
        return tree.merge(roots, store.read, store.put, replace_files=True)

    a, b, c = (real(flat, store) for flat in (one, two, three))
    assert merge(merge(a, b), c) == merge(a, b, c)
    assert merge(a, tree.EMPTY_TREE) == merge(tree.EMPTY_TREE, a) == merge(a, a) == a


@LOOSE
@given(trees(rich=False), trees(rich=False))
def test_without_replacing_a_contradiction_is_an_error_that_names_it(low: Flat, high: Flat) -> None:
    store = MemoryStore()
    roots = [real(low, store), real(high, store)]
    differ = {path for path in low.keys() & high.keys() if low[path] != high[path]}
    if differ:
        with pytest.raises(ActionError) as caught:
            tree.merge(roots, store.read, store.put)
        assert any(f"/{path}" in str(caught.value) for path in differ)
    else:
        assert model(tree.merge(roots, store.read, store.put), store) == {**low, **high}


GLOBS = st.lists(
    st.lists(st.sampled_from(["*", "**", "a", "b", "?", "[ab]", "c*", "é"]), min_size=1, max_size=3).map("/".join),
    max_size=2,
)


def as_regex(glob: str) -> re.Pattern[str]:
    """A glob over whole paths, covering what is below a match."""
    text = ""
    for name in glob.split("/"):
        if name == "**":
            text += "(?:[^/]+/)*"
        else:
            text += re.escape(name).replace(r"\*", "[^/]*").replace(r"\?", "[^/]").replace(r"\[ab\]", "[ab]") + "/"
    return re.compile(text + ".*", re.DOTALL)


def selected(flat: Flat, include: list[str], exclude: list[str]) -> Flat:
    def covered(path: str, globs: list[str]) -> bool:
        return any(as_regex(glob).fullmatch(f"{path}/" if path else "") for glob in globs)

    kept = {
        path: node
        for path, node in flat.items()
        if (not include or covered(path, include)) and not covered(path, exclude)
    }
    return {**{one: flat[one] for path in kept for one in parents(path)}, **kept, "": flat[""] if kept else PLAIN}


@LOOSE
@given(trees(rich=False), GLOBS, GLOBS)
def test_a_subset_agrees_with_matching_every_path(flat: Flat, include: list[str], exclude: list[str]) -> None:
    store = MemoryStore()
    assert model(select(real(flat, store), include, exclude, store), store) == selected(flat, include, exclude)


def packable(flat: Flat) -> Flat:
    """What a tar can say: a root without metadata; executable is what has an execute bit."""
    found: Flat = {}
    for path, node in flat.items():
        if isinstance(node, tuple):
            mode = (0o755 if node[1] else 0o644) if node[2].mode is None else node[2].mode
            found[path] = (node[0], bool(mode & 0o111), replace(node[2], mode=mode))
        else:
            found[path] = node
    return {**found, "": PLAIN}


@LOOSE
@given(trees())
def test_a_layer_is_unpacked_to_the_tree_it_was_packed_from(flat: Flat) -> None:
    store = MemoryStore()
    root = real(plain_modes(packable(flat)), store)
    for links in (True, False):
        data = b"".join(write(entries(root, store.read, links=links), store))
        assert unpack_stream(io.BytesIO(data), LAYER, store, "it") == root


def on_disk(flat: Flat, top: Path) -> None:
    """The model as files, made with the tools everybody has; directories that forbid entering come last."""
    for path, node in flat.items():
        place = top / path
        if isinstance(node, Meta):
            place.mkdir(parents=True, exist_ok=True)
        elif isinstance(node, Symlink):
            place.symlink_to(node.target)
        else:
            place.write_bytes(node[0])
            place.chmod(0o755 if node[1] else 0o644)


def read_back(top: Path) -> Flat:
    """A folder as a model, by os.walk."""
    found: Flat = {"": PLAIN}
    for folder, names, files in os.walk(top):
        for name in [*names, *files]:
            place = Path(folder, name)
            path = str(place.relative_to(top))
            info = place.lstat()
            if stat.S_ISLNK(info.st_mode):
                found[path] = Symlink(os.readlink(place))
            elif stat.S_ISDIR(info.st_mode):
                found[path] = PLAIN
            else:
                found[path] = (place.read_bytes(), bool(info.st_mode & 0o100), PLAIN)
    return found


@LOOSE
@given(flat=trees(rich=False), take=st.booleans())
def test_folders_survive_the_way_into_the_store_and_back(
    flat: Flat, take: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("round")
    try:
        store = DiskStore(top / "store")
        (top / "in").mkdir()
        on_disk(flat, top / "in")
        root = ingest_tree(top / "in", store, take=take)
        assert root == real(flat, store)
        staged = DiskStage(store).tree(root)
        assert read_back(staged) == flat
        assert ingest_tree(staged, store) == root
        for place in (staged, *staged.rglob("*")):
            assert place.lstat().st_mtime == SOURCE_DATE_EPOCH
            if place.is_file() and not place.is_symlink():
                assert stat.S_IMODE(place.stat().st_mode) in (0o444, 0o555)
    finally:
        remove_tree(top)


def test_deep_trees_are_built_and_walked_and_refused_where_they_cannot_be_used() -> None:
    """No file system could hold them, so operations that recurse need not; but they must say so."""
    store = MemoryStore()
    path = "/".join("ab"[number % 7 == 0] for number in range(3000))
    deep = tree.build({path: File(store.put(b"x"))}, store.put)
    other = tree.build({f"{path}x": File(store.put(b"y"))}, store.put)
    assert len(list(tree.walk(deep, store.read))) == 3001
    assert tree.settled(deep, store.read, store.put) == deep
    assert tree.merge([deep, deep], store.read, store.put) == deep
    operations: list[Callable[[], object]] = [
        lambda: tree.merge([deep, other], store.read, store.put),
        lambda: select(deep, ["**/c"], [], store),
        lambda: chmeta({"rules": [{"glob": "**", "uid": 5}]}, {"/t": Resolved(Kind.TREE, deep)}, bench(store)),
    ]
    for operation in operations:
        with pytest.raises(ActionError, match="nested too deep"):
            operation()


def bench(store: MemoryStore) -> Workbench:
    return Workbench(store, Path("/nonexistent"))
