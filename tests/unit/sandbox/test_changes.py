"""The changes of an overlay root: what a package's scripts do to it becomes data."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermetic.action import Kind, Output, Root
from hermetic.digest import EMPTY, Digest
from hermetic.errors import ActionError
from hermetic.sandbox.collect import collect
from hermetic.store.disk import DiskStore
from hermetic.store.stage import DiskStage
from hermetic.tree import Directory, File, Meta, Node, Subdir, Symlink, build, lookup

pytestmark = pytest.mark.sandbox
ROOT = (Output("root", "/", Kind.TREE),)


@pytest.fixture
def change(run, rootfs: Path, store: DiskStore, stage: DiskStage):
    """The tree of changes a script makes to the root filesystem, with ``nodes`` in it."""

    def execute(script: str, **nodes: File | Symlink | Meta) -> Digest:
        base = build({name.replace("__", "/"): node for name, node in nodes.items()}, store.put)
        roots = (rootfs, stage.tree(base)) if nodes else (rootfs,)
        result = run(script, roots=roots, outputs=ROOT, root=Root.OVERLAY, uid=0)
        assert result.exit_code == 0, result.stderr.read_text()
        return collect(ROOT, result, base, store)["root"].digest

    return execute


@pytest.fixture
def at(store: DiskStore):
    def find(root: Digest, path: str) -> Node | Meta | None:
        node = lookup(root, path, store.read)
        return Directory.decode(store.read(node.digest)).meta if isinstance(node, Subdir) else node

    return find


def entries(root: Digest, path: str, store: DiskStore) -> list[str]:
    node = lookup(root, path, store.read) if path else Subdir(root)
    assert isinstance(node, Subdir)
    return sorted(Directory.decode(store.read(node.digest)).entries)


def test_nothing_changed_is_nothing(change, store: DiskStore) -> None:
    assert entries(change("ls / > /tmp/x; echo > /build/x; cat /proc/mounts > /dev/null"), "", store) == []


def test_files_links_and_folders(change, at, store: DiskStore) -> None:
    root = change("cd /etc; echo x > f; ln -s f l; mkdir d; mkdir -m 1777 t; chmod 4750 f")
    assert entries(root, "", store) == ["etc"]
    assert at(root, "etc/f").meta.mode == 0o4750
    assert at(root, "etc/l").target == "f"
    assert at(root, "etc/d") == Meta()
    assert at(root, "etc/t") == Meta(mode=0o1777)


def test_deletions_are_whiteouts(change, at) -> None:
    root = change("rm /etc/group; mv /etc/passwd /etc/users")
    assert at(root, "etc/group").meta.whiteout
    assert at(root, "etc/passwd").meta.whiteout
    assert not at(root, "etc/users").meta.whiteout


def test_a_folder_made_anew_hides_the_old_one(change, at, store: DiskStore) -> None:
    file = File(store.put(b"x"))
    root = change("rm -rf /srv/d && mkdir /srv/d && touch /srv/d/new", srv__d__old=file)
    assert at(root, "srv/d").opaque
    assert entries(root, "srv/d", store) == ["new"]


def test_owners(change, at) -> None:
    script = """cd /etc; touch a b c d e f; mkdir g; touch g/$'x\\ny' g/h; ln -s /etc/f l; ln -s nowhere m
    chown alice a; chown alice:staff ./b; chgrp 7 c; chown alice: d; chown :staff e; chown -R 5.6 g
    chown alice l; chown -h alice m; touch /lib/lib; chown 9 /lib/lib; chown 1:2 ../etc/d"""
    root = change(script)
    wanted = {"a": (1234, 0), "b": (1234, 50), "c": (0, 7), "d": (1, 2), "e": (0, 50), "g/h": (5, 6), "g/x\ny": (5, 6),
              "f": (1234, 0), "m": (1234, 0), "l": (0, 0)}  # fmt: skip
    for name, owner in wanted.items():
        meta = at(root, f"etc/{name}").meta
        assert (meta.uid, meta.gid) == owner, name
    assert (at(root, "etc/g").uid, at(root, "etc/g").gid) == (5, 6)
    assert at(root, "usr/lib/lib").meta.uid == 9


def test_the_login_group(change, at) -> None:
    assert at(change("touch /etc/a; chown alice: /etc/a"), "etc/a").meta.gid == 77


@pytest.mark.parametrize("words", ["nobody /etc/passwd", "alice:nobody /etc/passwd", "alice /nowhere", "alice"])
def test_a_chown_that_cannot_be(change, words: str) -> None:
    change(f"! chown {words} 2> /tmp/err && test -s /tmp/err")


def test_what_is_deleted_has_no_owner(change, at, store: DiskStore) -> None:
    file = File(store.put(b"x"))
    root = change("chown -R alice /srv/d; rm -rf /srv/d; touch /etc/x; chown alice /etc/x; rm /etc/x", srv__d__f=file)
    assert at(root, "srv/d").meta.whiteout
    assert at(root, "etc/x") is None


def test_a_chown_keeps_the_mode_of_the_base(change, at, store: DiskStore) -> None:
    root = change(
        "chown alice /srv/mail /srv/su",
        srv__mail=Meta(mode=0o2775, gid=8),
        srv__su=File(store.put(b"x"), True, Meta(mode=0o4755, gid=3)),
    )
    assert at(root, "srv/mail") == Meta(mode=0o2775, uid=1234, gid=8)
    assert at(root, "srv/su").meta == Meta(mode=0o4755, uid=1234, gid=3)


def test_a_change_in_place_keeps_the_owner_and_mode_of_the_base(change, at, store: DiskStore) -> None:
    root = change(
        "touch /srv/mail/x; echo y >> /srv/shadow",
        srv__mail=Meta(mode=0o2775, uid=4, gid=8),
        srv__shadow=File(store.put(b"x\n"), False, Meta(mode=0o640, uid=0, gid=42)),
    )
    assert at(root, "srv/mail") == Meta(mode=0o2775, uid=4, gid=8)
    assert at(root, "srv/shadow").meta == Meta(mode=0o640, gid=42)
    assert store.read(at(root, "srv/shadow").digest) == b"x\ny\n"


@pytest.mark.parametrize("text", ["rubbish\\0", "1 2\\0", "-1 0 /etc/x\\0", "4294967295 0 /x\\0", "0 0 /\\xff\\0"])
def test_a_damaged_record(run, text: str) -> None:
    with pytest.raises(ActionError, match="chown was asked"):
        run(f"printf -- '{text}' > /.hb/owners", outputs=ROOT, root=Root.OVERLAY, uid=0)


def test_a_pipe_in_a_root(run, store: DiskStore) -> None:
    result = run("mkfifo /etc/pipe", outputs=ROOT, root=Root.OVERLAY, uid=0)
    with pytest.raises(ActionError, match="/etc/pipe is a named pipe"):
        collect(ROOT, result, EMPTY, store)


def test_a_deep_change(change, store: DiskStore) -> None:
    script = "cd /etc; python3 -c \"import os\nfor _ in range(900): os.mkdir('d'); os.chdir('d')\""
    assert lookup(change(script), "etc/" + "/".join("d" * 900), store.read) is not None
