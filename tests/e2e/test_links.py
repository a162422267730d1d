"""Links of a workspace that lead out of it, and workspaces inside a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sandbox
SECRET = "the host's secret"
COPY = 'command(name="x", rootfs=":rootfs", srcs=[{src}], cmd="mkdir out/all; for f in *; do [ $f = out ] || cp -r $f out/all; done")\n'


@pytest.fixture
def attacked(workspace: Any, tmp_path: Path) -> Any:
    """A workspace beside a folder with a secret, a package and a module."""
    host = tmp_path / "host"
    (host / "inner").mkdir(parents=True)
    (host / "secret").write_text(SECRET)
    (host / "inner/secret").write_text(SECRET)
    (host / "BUILD.py").write_text(f"fail({SECRET!r})\n")
    (host / "module.py").write_text(f"value = {SECRET!r}\n")
    return workspace


ATTACKS = {
    "a file": ({"link": "secret"}, COPY.format(src='"link"')),
    "a file by a relative link": ({"link": "../host/secret"}, COPY.format(src='"link"')),
    "a link to a link": ({"one": "secret", "d/two": "../one"}, COPY.format(src='"d/two"')),
    "behind a folder": ({"d": "inner"}, COPY.format(src='"d/secret"')),
    "behind two folders": ({"a/b": "."}, COPY.format(src='"a/b/inner/secret"')),
    "a glob": ({"d/link": "secret", "e": "inner"}, COPY.format(src='*glob(["d/**", "e/**", "*.txt"])')),
    "a module": ({"module.py": "module.py"}, 'from module import value\nlocal_source(name="x", srcs=[value])\n'),
    "a module behind a folder": ({"m": "."}, 'from m.module import value\nlocal_source(name="x", srcs=[value])\n'),
    "a lock": (
        {"x.lock": "secret"},
        'from rules.cargo import cargo_crates\ncargo_crates(name="x", lock="x.lock", cargo_lock="Cargo.lock")\n',
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_file_of_the_host_is_read_by_a_link(attacked: Any, tmp_path: Path, attack: str) -> None:
    links, text = ATTACKS[attack]
    attacked.write("plain.txt", "plain\n")
    attacked.write("Cargo.lock", "")
    for name, target in links.items():
        place = attacked.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target if target.startswith("..") else tmp_path / "host" / target)
    attacked.build_file(text)
    done = attacked.hb("build", "//:x")
    assert SECRET not in done.out + done.err
    assert not [
        path for path in (attacked.store / "cas").rglob("*") if path.is_file() and SECRET in path.read_text("latin-1")
    ]
    if attack == "a glob":
        assert done.code == 0, done.err
        assert [path.name for path in (attacked.root / "hb-out/x/all").iterdir() if path.is_file()] == ["plain.txt"]
    else:
        assert done.code == 7, done.err
        assert "is a symbolic link out of the workspace" in done.err
        assert "copy the file into the workspace" in done.err


def test_a_package_behind_a_link_is_none(attacked: Any, tmp_path: Path) -> None:
    (attacked.root / "pkg").symlink_to(tmp_path / "host")
    for words in (["build", "//pkg:x"], ["build", "//pkg/..."], ["build", "//..."]):
        done = attacked.hb(*words)
        assert SECRET not in done.out + done.err
    assert "is a symbolic link out of the workspace" in attacked.hb("build", "//pkg:x").err


def test_a_lock_is_never_written_through_a_link(attacked: Any, tmp_path: Path) -> None:
    attacked.write("Cargo.lock", 'version = 4\n[[package]]\nname = "x"\nversion = "1.0.0"\n')
    (attacked.root / "x.lock").symlink_to(tmp_path / "host/secret")
    attacked.build_file(ATTACKS["a lock"][1])
    done = attacked.hb("lock", "//:x")
    assert done.code == 7, done.err
    assert (tmp_path / "host/secret").read_text() == SECRET


def test_a_file_that_becomes_a_link_later(attacked: Any, tmp_path: Path) -> None:
    """What analysis said of it is of another day: nothing is read on its word."""
    attacked.write("file.txt", "mine")
    attacked.build_file(COPY.format(src='"file.txt"'))
    assert attacked.hb("build", "//:x").code == 0
    (attacked.root / "file.txt").unlink()
    (attacked.root / "file.txt").symlink_to(tmp_path / "host/secret")
    done = attacked.hb("build", "//:x")
    assert done.code in (1, 7), done.err
    assert "is a symbolic link out of the workspace" in done.err


def test_links_inside_the_workspace_are_files_like_others(attacked: Any) -> None:
    attacked.write("d/real.txt", "real\n")
    (attacked.root / "link.txt").symlink_to("d/real.txt")
    (attacked.root / "e").symlink_to("d")
    attacked.build_file(COPY.format(src='"link.txt", "e/real.txt"'))
    done = attacked.hb("build", "//:x")
    assert done.code == 0, done.err
    assert (attacked.root / "hb-out/x/all/link.txt").read_text() == "real\n"


def test_a_workspace_inside_is_no_part_of_this_one(workspace: Any) -> None:
    workspace.write("own/BUILD.py", 'from rules.basic import tree\ntree(name="own", files={"/a": "a"})\n')
    workspace.write("own/pyproject.toml", '[project]\nname = "x"\n[tool.other]\nhb = 1\n')
    broken = "this is no BUILD file\n"
    for name, text in {"one": "[tool.hb]\n", "two": '[project]\nname="y"\n\n [ tool.hb.settings ]\na = "b"\n'}.items():
        workspace.write(f"nested/{name}/pyproject.toml", text)
        workspace.write(f"nested/{name}/BUILD.py", broken)
        workspace.write(f"nested/{name}/deep/BUILD.py", broken)
    done = workspace.hb("build", "//...")
    assert done.code == 0, done.err
    assert {line.split("\t")[0] for line in done.out.splitlines()} == {"//:rootfs", "//own:own"}
    assert workspace.hb("lock").code == 2, "there is nothing to lock, and that is all that is wrong"
    workspace.write("nested/one/pyproject.toml", "[tool.other]\n")
    assert workspace.hb("build", "//...").code == 7, "a folder that is no workspace any more is seen"
