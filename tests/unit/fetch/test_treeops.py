"""Operations on trees: what they give, and that they open nothing they need not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.errors import ActionError, UserError
from hermetic.globs import Globs
from hermetic.store import treeops
from hermetic.store.operation import Resolved, Workbench
from hermetic.tree import File, Meta, Symlink

TREE = Kind.TREE


@pytest.fixture
def bench(store: Any, tmp_path: Path) -> Workbench:
    return Workbench(store, tmp_path)


def make(store: Any, **texts: str) -> Digest:
    return tree.build({path: File(store.put(text.encode())) for path, text in texts.items()}, store.put)


def run(operation: Any, params: dict[str, Any], bench: Workbench, *roots: Digest) -> Digest:
    inputs = {f"/{number}": Resolved(TREE, root) for number, root in enumerate(roots)}
    return operation(params, inputs, bench)["out"].digest  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.h", ["a.h"], ["a/b.h", "a.c"]),
        ("**/*.h", ["a.h", "a/b.h", "a/b/c.h"], ["a.hh"]),
        ("a/**", ["a", "a/b", "a/b/c"], ["ab", "b/a"]),
        ("a", ["a", "a/b/c"], ["b", "ab"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z/below"], ["z", "a/zz"]),
        ("**", ["a", "a/b", ""], []),
        ("a/[bc]/?", ["a/b/x", "a/c/y"], ["a/d/x", "a/b/xy"]),
        ("**/a/**/b", ["a/b", "x/a/y/b"], ["a", "b"]),
    ],
)
def test_globs(pattern: str, yes: list[str], no: list[str]) -> None:
    globs = Globs.of([pattern])
    assert [path for path in yes if not globs.covers(path)] == []
    assert [path for path in no if globs.covers(path)] == []


def test_globs_refuse_dots() -> None:
    with pytest.raises(UserError, match="not a glob of a tree"):
        Globs.of(["../x"])


def test_subset(store: Any, bench: Workbench) -> None:
    root = make(store, **{"usr/lib/a.so": "a", "usr/lib/a.a": "b", "usr/include/a.h": "c", "etc/x": "d"})
    out = run(treeops.subset, {"include": ["usr"], "exclude": ["**/*.a"], "strip": "usr", "prefix": "opt"}, bench, root)
    assert store.texts(out) == {}, "include is matched after stripping"
    out = run(treeops.subset, {"exclude": ["**/*.a"], "strip": "usr", "prefix": "opt/x"}, bench, root)
    assert store.texts(out) == {"opt/x/lib/a.so": "a", "opt/x/include/a.h": "c"}


def test_subset_opens_only_what_it_must(store: Any, bench: Workbench) -> None:
    root = make(store, **{"a/deep/down/x": "1", "b/deep/down/y": "2", "c/z": "3"})
    opened: list[Digest] = []
    read = store.read
    store.read = lambda digest: opened.append(digest) or read(digest)
    out = run(treeops.subset, {"include": ["a", "b/deep"]}, bench, root)
    assert len(opened) == 2, "the root and b; a and b/deep are taken whole, c is dropped unseen"
    assert store.texts(out) == {"a/deep/down/x": "1", "b/deep/down/y": "2"}


def test_subset_of_everything_is_the_tree_itself(store: Any, bench: Workbench) -> None:
    root = make(store, **{"a/x": "1", "b": "2"})
    assert run(treeops.subset, {}, bench, root) == root
    assert run(treeops.subset, {"include": ["**"]}, bench, root) == root
    assert run(treeops.subset, {"include": ["nothing"]}, bench, root) == tree.EMPTY_TREE


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), max_size=10),
    include=st.lists(st.sampled_from(["a", "**/b", "a/**", "*/c", "**"]), max_size=2),
    exclude=st.lists(st.sampled_from(["c", "**/a", "b/**", "*/b"]), max_size=2),
)
def test_subset_agrees_with_matching_every_path(
    store: Any, bench: Workbench, paths: set[str], include: list[str], exclude: list[str]
) -> None:
    leaves = {path for path in paths if not any(other.startswith(path + "/") for other in paths)}
    root = make(store, **dict.fromkeys(leaves, "x"))
    out = run(treeops.subset, {"include": include, "exclude": exclude}, bench, root)
    inside, outside = Globs.of(include or ["**"]), Globs.of(exclude)
    assert set(store.texts(out)) == {path for path in leaves if inside.covers(path) and not outside.covers(path)}


def test_merge_keeps_the_order_of_numbers(store: Any, bench: Workbench) -> None:
    roots = [make(store, x=str(number)) for number in range(12)]
    assert store.texts(run(treeops.merge, {"replace": True}, bench, *roots)) == {"x": "11"}
    with pytest.raises(ActionError, match="different things at /x"):
        run(treeops.merge, {}, bench, *roots)


def test_merge_puts_inputs_where_at_says(store: Any, bench: Workbench) -> None:
    blob = store.put(b"blob")
    inputs = {
        "/0000": Resolved(TREE, make(store, **{"lib/a": "a"})),
        "/0001": Resolved(TREE, make(store, b="b")),
        "/0002": Resolved(Kind.BLOB, blob, executable=True),
    }
    root = treeops.merge({"at": ["/", "/lib", "/bin/tool"]}, inputs, bench)["out"].digest
    assert store.texts(root) == {"lib/a": "a", "lib/b": "b", "bin/tool": "blob"}
    assert store.listing(root)["bin/tool"].executable
    with pytest.raises(UserError, match="3 inputs and 1 places"):
        treeops.merge({"at": ["/"]}, inputs, bench)


def test_chmeta_mode_is_of_the_match_itself(store: Any, bench: Workbench) -> None:
    root = tree.build({"w/x": File(store.put(b"x")), "w/t": File(store.put(b"t"), True), "w/d": Meta()}, store.put)
    nodes = store.listing(run(treeops.chmeta, {"rules": [{"glob": "w", "mode": "2775"}]}, bench, root))
    assert nodes["w"] == Meta(mode=0o2775)
    assert (nodes["w/x"].mode, nodes["w/t"].mode, nodes["w/d"]) == (0o644, 0o755, Meta())
    nodes = store.listing(run(treeops.chmeta, {"rules": [{"glob": "w/*", "mode": "0700"}]}, bench, root))
    assert (nodes["w"], nodes["w/x"].mode, nodes["w/d"].mode) == (Meta(), 0o700, 0o700)
    nodes = store.listing(run(treeops.chmeta, {"rules": [{"glob": "**", "dir_mode": "0711"}]}, bench, root))
    assert {nodes[path].mode for path in ("", "w", "w/d")} == {0o711}
    assert nodes["w/x"].mode == 0o644


def test_write(store: Any, bench: Workbench) -> None:
    grafted = make(store, inner="i")
    blob = store.put(b"blob")
    params = {
        "files": {
            "/etc/motd": {"text": "hello\n", "mode": "0600", "uid": 1000},
            "/bin/tool": {"input": "/tool"},
            "/bin/sh": {"symlink": "tool"},
            "/opt/tree": {"input": "/tree"},
            "/var/empty": {"directory": True, "mode": "1777"},
            "/gone": {"whiteout": True},
        }
    }
    inputs = {"/tool": Resolved(Kind.BLOB, blob, executable=True), "/tree": Resolved(TREE, grafted)}
    root = treeops.write(params, inputs, bench)["out"].digest
    nodes = store.listing(root)
    assert nodes["etc/motd"] == File(Digest.of(b"hello\n"), False, Meta(mode=0o600, uid=1000))
    assert nodes["bin/tool"] == File(blob, True)
    assert nodes["bin/sh"] == Symlink("tool")
    assert nodes["opt/tree/inner"] == File(Digest.of(b"i"))
    assert nodes["var/empty"] == Meta(mode=0o1777)


@pytest.mark.parametrize(
    ("files", "phrase"),
    [
        ({"/x": {}}, "needs exactly one of"),
        ({"/x": {"text": "a", "symlink": "b"}}, "needs exactly one of"),
        ({"/x": {"text": "a", "mode": "9"}}, "not a file mode"),
        ({"/x": {"input": "/nothing"}}, "does not exist"),
        ({"/x": {"text": "a"}, "x": {"text": "b"}}, "given twice"),
        ({"/x": {"texts": "a"}}, "no parameter"),
    ],
)
def test_write_refuses(bench: Workbench, files: dict[str, Any], phrase: str) -> None:
    with pytest.raises(UserError, match=phrase):
        treeops.write({"files": files}, {}, bench)


def test_chmeta(store: Any, bench: Workbench) -> None:
    root = tree.build(
        {
            "home": Meta(),
            "home/x": File(store.put(b"x")),
            "home/tool": File(store.put(b"t"), True),
            "home/l": Symlink("x"),
            "etc/y": File(store.put(b"y")),
        },
        store.put,
    )
    rules = [
        {"glob": "home", "uid": 1000, "gid": 0, "group_like_user": True},
        {"glob": "**/tool", "file_mode": "2750"},
    ]
    nodes = store.listing(run(treeops.chmeta, {"rules": rules}, bench, root))
    assert nodes["home"] == Meta(mode=0o775, uid=1000)
    assert nodes["home/x"].meta == Meta(mode=0o664, uid=1000)
    assert nodes["home/tool"] == File(Digest.of(b"t"), True, Meta(mode=0o2750, uid=1000))
    assert nodes["home/l"] == Symlink("x", Meta(uid=1000))
    assert nodes["etc/y"] == File(Digest.of(b"y"))
    assert nodes["etc"] == nodes[""] == Meta()


def test_chmeta_covers_the_root_and_forgets_nothing(store: Any, bench: Workbench) -> None:
    root = make(store, **{"a/x": "1", "b/x": "1"})
    nodes = store.listing(run(treeops.chmeta, {"rules": [{"glob": "**", "uid": 7}]}, bench, root))
    assert {path: getattr(node, "meta", node).uid for path, node in nodes.items()} == dict.fromkeys(
        ["", "a", "a/x", "b", "b/x"], 7
    )
    again = run(treeops.chmeta, {"rules": [{"glob": "**", "uid": 0}]}, bench, root)
    assert again == root


def test_chmeta_opens_only_what_rules_can_reach(store: Any, bench: Workbench) -> None:
    root = make(store, **{"a/deep/x": "1", "b/deep/y": "2"})
    opened: list[Digest] = []
    read = store.read
    store.read = lambda digest: opened.append(digest) or read(digest)
    run(treeops.chmeta, {"rules": [{"glob": "a/deep", "uid": 1}]}, bench, root)
    assert len(opened) == 3
