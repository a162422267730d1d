"""Outputs of real commands become artifacts, or errors that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermetic.action import Kind, Output
from hermetic.digest import EMPTY
from hermetic.errors import ActionError
from hermetic.sandbox.collect import collect
from hermetic.sandbox.spec import SandboxResult
from hermetic.store.disk import DiskStore
from hermetic.tree import Directory, File, Symlink, lookup

pytestmark = pytest.mark.sandbox
TREE = (Output("out", "/build/a/out", Kind.TREE),)
BLOB = (Output("out", "/build/a/out", Kind.BLOB),)
OUTSIDE = (Output("out", "/usr/local/thing", Kind.TREE),)


def taken(outputs: tuple[Output, ...], result: SandboxResult, store: DiskStore):
    assert result.exit_code == 0, result.stderr.read_text()
    return collect(outputs, result, EMPTY, store)["out"]


def test_a_tree(run, store: DiskStore) -> None:
    script = "cd /build/a/out && mkdir d && echo x > d/f && chmod 755 d/f && ln -s d/f l && mkdir empty"
    root = taken(TREE, run(script, outputs=TREE), store).digest
    found = lookup(root, "d/f", store.read)
    assert isinstance(found, File)
    assert found.executable
    assert store.read(found.digest) == b"x\n"
    assert isinstance(lookup(root, "l", store.read), Symlink)
    assert lookup(root, "empty", store.read) is not None


def test_a_tree_at_its_prefix(run, store: DiskStore) -> None:
    result = run("echo x > /usr/local/thing/f; touch /usr/local/other 2> /dev/null || true", outputs=OUTSIDE)
    root = taken(OUTSIDE, result, store).digest
    assert list(Directory.decode(store.read(root)).entries) == ["f"]


def test_a_blob(run, store: DiskStore) -> None:
    found = taken(BLOB, run("echo x > /build/a/out; chmod +x /build/a/out", outputs=BLOB), store)
    assert store.read(found.digest) == b"x\n"
    assert found.executable


@pytest.mark.parametrize(
    ("outputs", "script", "words"),
    [
        (TREE, "rm -rf /build/a/out", "did not make its output /build/a/out"),
        (TREE, "rm -rf /build/a", "did not make its output /build/a/out"),
        (TREE, "rm -rf /build/a/out; touch /build/a/out", "is a regular file, but it is declared as a directory"),
        (TREE, "rm -rf /build/a/out; ln -s / /build/a/out", "is a symbolic link"),
        (TREE, "mkfifo /build/a/out/pipe", "pipe is a named pipe"),
        (TREE, "mkdir /build/a/out/d; mkfifo /build/a/out/d/pipe", "d/pipe is a named pipe"),
        (TREE, "touch /build/a/out/$'\\xff'", "not UTF-8"),
        (BLOB, "true", "did not make its output /build/a/out"),
        (BLOB, "mkdir /build/a/out", "is a directory, but it is declared as a regular file"),
        (BLOB, "ln -s /etc/passwd /build/a/out", "is a symbolic link"),
        (BLOB, "mkfifo /build/a/out", "is a named pipe"),
        (
            BLOB,
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/build/a/out\")'",
            "is a socket",
        ),
        (BLOB, "rm -rf /build/a; touch /build/a", "a on the way to it is a regular file"),
    ],
)
def test_what_is_refused(run, store: DiskStore, outputs: tuple[Output, ...], script: str, words: str) -> None:
    result = run(script, outputs=outputs)
    with pytest.raises(ActionError) as caught:
        taken(outputs, result, store)
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("outputs", [TREE, BLOB])
@pytest.mark.parametrize("inside", [False, True])
def test_a_link_above_an_output_is_not_followed(
    run, store: DiskStore, tmp_path: Path, outputs: tuple[Output, ...], inside: bool
) -> None:
    """Or any file of the host could be had, and taken away, by naming it as an output."""
    host = tmp_path / "host"
    victim = host / "out" / "secret" if outputs is TREE else host / "out"
    victim.parent.mkdir(parents=True)
    victim.write_text("the host's")
    script = f"rm -rf /build/a; mkdir -p /build/{host}/out; ln -s {'/build' if inside else ''}{host} /build/a"
    result = run(script, outputs=outputs)
    with pytest.raises(ActionError, match="a on the way to it is a symbolic link"):
        taken(outputs, result, store)
    assert victim.read_text() == "the host's"
    assert not any(path.is_file() for path in (store.root / "cas").rglob("*"))


def test_closed_folders_are_opened(run, store: DiskStore) -> None:
    script = "cd /build/a/out; mkdir -p d/e; echo x > d/e/f; chmod 0 d/e/f; chmod 0 d/e; chmod 555 d; chmod 0 ."
    root = taken(TREE, run(script, outputs=TREE), store).digest
    found = lookup(root, "d/e/f", store.read)
    assert isinstance(found, File)
    assert store.read(found.digest) == b"x\n"


def test_hard_links_within_an_output_are_two_files(run, store: DiskStore) -> None:
    root = taken(TREE, run("cd /build/a/out; echo x > f; ln f g; ln f ../h", outputs=TREE), store).digest
    assert lookup(root, "f", store.read) == lookup(root, "g", store.read)


def test_an_output_is_not_shared_with_what_is_kept(run, store: DiskStore, tmp_path: Path) -> None:
    """A link to the output from the scratch folder must not become a way into the store."""
    result = run("echo x > /build/a/out; ln /build/a/out /build/twin", outputs=BLOB)
    digest = taken(BLOB, result, store).digest
    (tmp_path / "work0/build/twin").write_text("changed")
    assert store.read(digest) == b"x\n"


def test_a_deep_tree(run, store: DiskStore) -> None:
    script = "python3 -c \"import os\nfor _ in range(800): os.mkdir('d'); os.chdir('d')\""
    root = taken(TREE, run(script, outputs=TREE, cwd="/build/a/out"), store).digest
    assert lookup(root, "/".join("d" * 800), store.read) is not None


def test_a_line_break_in_a_name(run, store: DiskStore) -> None:
    root = taken(TREE, run("touch /build/a/out/$'a\\nb'", outputs=TREE), store).digest
    assert list(Directory.decode(store.read(root)).entries) == ["a\nb"]


def test_special_modes_are_data(run, store: DiskStore) -> None:
    """A setuid program is kept as a note in the tree; what lies on the disk has no such bit."""
    root = taken(TREE, run("cp /bin/true /build/a/out/t; chmod 4755 /build/a/out/t", outputs=TREE), store).digest
    found = lookup(root, "t", store.read)
    assert isinstance(found, File)
    assert found.mode == 0o4755
    assert store.path(found.digest).stat().st_mode & 0o7777 == 0o444
