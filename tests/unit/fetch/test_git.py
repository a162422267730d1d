"""Git sources against real repositories: what comes is the commit, the whole commit, only the commit."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_servers import git_served

from hermetic.errors import FetchError, HbError
from hermetic.fetch.collect import take_tree
from hermetic.fetch.dispatch import Options, fetch_batch
from hermetic.fetch.git import checkout
from hermetic.fetch.git_proof import check_commit
from hermetic.fetch.spec import FetchRequest

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


@pytest.fixture(autouse=True)
def own_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's configuration that would change content, if it were let."""
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\n name = T\n email = t@example.org\n[init]\n defaultBranch = main\n"
        '[core]\n autocrlf = true\n[protocol "file"]\n allow = always\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path, files: dict[str, str], *extra: str) -> str:
    """Make a repository with one commit; its id."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", *extra)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return commit(folder)


def commit(folder: Path) -> str:
    git(folder, "-c", "core.autocrlf=false", "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "m")
    return git(folder, "rev-parse", "HEAD")


def texts(folder: Path, store: Any) -> dict[str, str]:
    found: dict[str, str] = store.texts(take_tree(folder, folder / "tree", store))
    return found


def get(origin: Path, commit_id: str, folder: Path, submodules: bool = False) -> None:
    checkout([f"file://{origin}"], commit_id, submodules, folder, "//a:b")


def test_the_tree_as_it_is_stored(tmp_path: Path, store: Any) -> None:
    """Attributes ask for CRLF, keywords and export rules; none applies."""
    origin = tmp_path / "origin"
    files = {
        ".gitattributes": "*.txt text eol=crlf\n*.id ident export-subst\nhidden export-ignore\n",
        "a.txt": "one\ntwo\n",
        "x.id": "$Id$ $Format:%H$\n",
        "hidden": "kept",
        "dir/tool": "#!/bin/sh\n",
    }
    repository(origin, files)
    (origin / "dir/tool").chmod(0o755)
    (origin / "link").symlink_to("dir/tool")
    get(origin, commit(origin), tmp_path / "w")
    assert texts(tmp_path / "w", store) == {**files, "link": "-> dir/tool"}
    assert os.access(tmp_path / "w/tree/dir/tool", os.X_OK)
    assert not (tmp_path / "w/tree/.git").exists()


def test_an_old_commit_that_no_branch_ends_at(tmp_path: Path, store: Any) -> None:
    origin = tmp_path / "origin"
    first = repository(origin, {"f": "1"})
    (origin / "f").write_text("2")
    commit(origin)
    get(origin, first, tmp_path / "w")
    assert texts(tmp_path / "w", store) == {"f": "1"}


def test_a_server_that_does_not_serve_commits_by_id(tmp_path: Path, store: Any) -> None:
    origin = tmp_path / "origin"
    first = repository(origin, {"f": "1"})
    (origin / "f").write_text("2")
    commit(origin)
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "false")
    git(origin, "config", "protocol.version", "0")
    checkout([f"file://{origin}"], first, False, tmp_path / "w", "//a:b")
    assert texts(tmp_path / "w", store) == {"f": "1"}


def test_sha256_repositories(tmp_path: Path, store: Any) -> None:
    head = repository(tmp_path / "origin", {"f": "1"}, "--object-format=sha256")
    assert len(head) == 64
    get(tmp_path / "origin", head, tmp_path / "w")
    assert texts(tmp_path / "w", store) == {"f": "1"}


def test_submodules_at_their_pinned_commits(tmp_path: Path, store: Any) -> None:
    repository(tmp_path / "inner", {"i": "inner"})
    middle = tmp_path / "middle"
    repository(middle, {"m": "middle"})
    git(middle, "submodule", "add", "-q", "../inner", "deep/inner")
    commit(middle)
    outer = tmp_path / "outer"
    repository(outer, {"o": "outer"})
    git(outer, "submodule", "add", "-q", f"file://{middle}", "sub")
    head = commit(outer)
    (tmp_path / "inner" / "i").write_text("later")
    commit(tmp_path / "inner")

    get(outer, head, tmp_path / "with", submodules=True)
    proven(tmp_path / "with", head, True, store)
    found = texts(tmp_path / "with", store)
    assert {name: text for name, text in found.items() if not name.endswith(".gitmodules")} == {
        "o": "outer",
        "sub/m": "middle",
        "sub/deep/inner/i": "inner",
    }
    get(outer, head, tmp_path / "without")
    proven(tmp_path / "without", head, False, store)
    (tmp_path / "without/tree/sub/x").write_text("not asked for")
    with pytest.raises(FetchError, match="not asked for"):
        proven(tmp_path / "without", head, False, store)
    (tmp_path / "without/tree/sub/x").unlink()
    assert set(texts(tmp_path / "without", store)) == {".gitmodules", "o"}
    assert (tmp_path / "without/tree/sub").is_dir(), "as git leaves it: an empty folder"


def test_lfs_pointers_are_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.example.org/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    head = repository(tmp_path / "origin", {"model.bin": pointer, "about-lfs.md": "version https://git-lfs. is a line"})
    with pytest.raises(FetchError) as caught:
        get(tmp_path / "origin", head, tmp_path / "w")
    assert "1 file(s) in Git LFS" in str(caught.value)
    assert "model.bin" in str(caught.value)
    assert "http_file" in str(caught.value.hint)


@pytest.mark.parametrize("pin", ["main", "v1.0", "abc123", "A" * 40, "0" * 39, "0" * 41, "", "--upload-pack=x"])
def test_only_full_commit_ids_are_pins(tmp_path: Path, pin: str) -> None:
    with pytest.raises(FetchError, match="not a commit id"):
        get(tmp_path, pin, tmp_path / "w")


def test_every_address_tried_is_named(tmp_path: Path) -> None:
    repository(tmp_path / "origin", {"f": "1"})
    urls = [f"file://{tmp_path}/nothing", f"file://{tmp_path}/origin", "ext::sh -c touch% pwned", "--upload-pack=touch"]
    with pytest.raises(FetchError) as caught:
        checkout(urls, "0" * 40, False, tmp_path / "w", "//a:b")
    text = str(caught.value)
    assert "nothing" in text
    assert "origin: " in text
    assert text.count("not an address git sources may have") == 2
    assert not Path("pwned").exists()


def test_a_submodule_cannot_reach_this_machines_files(tmp_path: Path) -> None:
    from hermetic.fetch.git import _resolved

    assert _resolved("../b.git", "https://h.example.org/x/a.git") == "https://h.example.org/x/b.git"
    assert _resolved("./b", "https://h.example.org/x/a") == "https://h.example.org/x/a/b"
    assert _resolved("../b", "me@h.example.org:x/a") == "me@h.example.org:x/b"
    assert _resolved("https://o.example.org/b", "https://h.example.org/a") == "https://o.example.org/b"
    for url in (f"file://{tmp_path}", str(tmp_path)):
        with pytest.raises(FetchError, match="into this machine's files"):
            _resolved(url, "https://h.example.org/a")


def hash_object(folder: Path, kind: str, data: bytes) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "hash-object", "-w", "-t", kind, "--literally", "--stdin"],
        input=data, check=True, capture_output=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        (b"..", "not a file name"),
        (b".git", "named like git's own"),
        (b".GIT", "named like git's own"),
        (b"git~1", "named like git's own"),
        (b".git ", "named like git's own"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_hostile_trees(tmp_path: Path, name: bytes, phrase: str) -> None:
    """Trees that git itself would not make, put into the object store by hand (CVE-2014-9390, CVE-2018-11235)."""
    origin = tmp_path / "origin"
    repository(origin, {"f": "1"})
    blob = hash_object(origin, "blob", b"evil")
    inner = hash_object(origin, "tree", b"100644 hook\0" + bytes.fromhex(blob))
    tree = hash_object(origin, "tree", b"40000 " + name + b"\0" + bytes.fromhex(inner))
    head = git(origin, "commit-tree", tree, "-m", "m")
    git(origin, "update-ref", "refs/heads/evil", head)
    with pytest.raises(HbError, match=phrase):
        get(origin, head, tmp_path / "w")
    assert not (tmp_path / "w" / "hook").exists()


def test_a_file_behind_a_link_of_the_same_name(tmp_path: Path) -> None:
    """CVE-2024-32002's shape: one name as a link and as a folder. Links are made last, so the file
    cannot go through; the second of the two is refused."""
    origin = tmp_path / "origin"
    repository(origin, {"f": "1"})
    target = hash_object(origin, "blob", str(tmp_path).encode())
    blob = hash_object(origin, "blob", b"evil")
    inner = hash_object(origin, "tree", b"100644 pwned\0" + bytes.fromhex(blob))
    data = b"120000 a\0" + bytes.fromhex(target) + b"40000 a\0" + bytes.fromhex(inner)
    head = git(origin, "commit-tree", hash_object(origin, "tree", data), "-m", "m")
    git(origin, "update-ref", "refs/heads/evil", head)
    from hermetic.fetch.git import fetch

    request = FetchRequest("//a", {"commit": head}, {"urls": [f"file://{origin}"]})
    (tmp_path / "work").mkdir()
    (reply,) = fetch([request], tmp_path / "work")
    assert reply.error is not None
    assert not (tmp_path / "pwned").exists()


@pytest.fixture
def over_http(tmp_path: Path) -> Iterator[str]:
    with git_served(tmp_path) as url:
        yield url


@pytest.mark.sandbox
def test_through_a_boxed_worker(tmp_path: Path, store: Any, over_http: str) -> None:
    head = repository(tmp_path / "origin", {"f": "1", "d/g": "2"})
    request = FetchRequest("//a", {"commit": head}, {"urls": [f"{over_http}/origin/.git"]})
    asked: list[Any] = []
    (outcome,) = fetch_batch("git", [request], tmp_path / "work", store, Options(progress=asked.append))
    assert not isinstance(outcome, FetchError), outcome
    assert store.texts(outcome.digest) == {"f": "1", "d/g": "2"}
    assert asked, "git went through the proxy"


def proven(folder: Path, commit_id: str, submodules: bool, store: Any) -> None:
    root = take_tree(folder, folder / "tree", store)
    check_commit(root, commit_id, submodules, (folder / "proof.json").read_bytes(), store)


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_the_parent_computes_the_commits_own_hashes(tmp_path: Path, store: Any, form: str) -> None:
    """Names chosen for git's order of entries: a directory sorts as if its name ended in a slash."""
    origin = tmp_path / "origin"
    files = {"a.c": "1", "a/b": "2", "a0": "3", "a/b.c": "", "ü": "4"}
    repository(origin, files, f"--object-format={form}")
    (origin / "a0").chmod(0o755)
    (origin / "l").symlink_to("a/b")
    head = commit(origin)
    get(origin, head, tmp_path / "w")
    proven(tmp_path / "w", head, False, store)


def test_files_other_than_the_commits_are_not_believed(tmp_path: Path, store: Any) -> None:
    origin = tmp_path / "origin"
    head = repository(origin, {"f": "1", "d/g": "2"})

    def spoilt(number: int, spoil: Any) -> None:
        folder = tmp_path / f"w{number}"
        get(origin, head, folder)
        proven(folder, head, False, store)
        spoil(folder)
        with pytest.raises(FetchError, match="git worker"):
            proven(folder, head, False, store)

    def other_commit(folder: Path) -> None:
        proof = json.loads((folder / "proof.json").read_text())
        proof[""]["commit"] = base64.b64encode(b"tree 0").decode()
        (folder / "proof.json").write_text(json.dumps(proof))

    def hidden_in_a_link(folder: Path) -> None:
        """Claim that d is a submodule that was not asked for."""
        proof = json.loads((folder / "proof.json").read_text())
        proof[""]["links"]["d"] = "0" * 40
        (folder / "proof.json").write_text(json.dumps(proof))

    spoilt(0, lambda folder: (folder / "tree/f").write_text("3"))
    spoilt(1, lambda folder: (folder / "tree/f").chmod(0o755))
    spoilt(2, lambda folder: (folder / "tree/new").write_text(""))
    spoilt(3, lambda folder: (folder / "tree/d/g").unlink())
    spoilt(4, lambda folder: (folder / "tree/empty").mkdir())
    spoilt(5, other_commit)
    spoilt(6, hidden_in_a_link)
    spoilt(7, lambda folder: (folder / "proof.json").write_text("{}"))
    spoilt(8, lambda folder: (folder / "proof.json").write_text("no JSON"))


@pytest.mark.sandbox
def test_vendored_trees(tmp_path: Path, store: Any) -> None:
    from hermetic.fetch.vendor import VendorDir

    origin = tmp_path / "origin"
    head = repository(origin, {"f": "1", "d/g": "2"})
    request = FetchRequest("//a", {"commit": head}, {"urls": [f"file://{origin}"]})
    (outcome,) = fetch_batch("git", [request], tmp_path / "work", store)
    assert not isinstance(outcome, FetchError), outcome
    vendor = VendorDir(tmp_path / "vendor")
    vendor.put("git", request.params, outcome, store)
    fresh = type(store)()
    (again,) = fetch_batch("git", [request], tmp_path / "w2", fresh, Options(vendor=vendor, network=False))
    assert again == outcome
    assert fresh.texts(outcome.digest) == {"f": "1", "d/g": "2"}
