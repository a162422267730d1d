"""That a tree of the store is the tree of a git commit, shown from the hashes alone.

Guarantees: a git worker is not believed. It hands over the commit objects and the commits of submodules;
the parent computes git's own object ids of the tree it took and compares them with the pin, so that
neither a broken git nor a server can slip in other content.
Source: git's object format (gitformat-pack(5), "Pro Git" chapter 10.2).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hermetic import tree
from hermetic.digest import Digest
from hermetic.errors import FetchError
from hermetic.store.protocols import BlobStore
from hermetic.tree import Directory, File, Node, Subdir, Symlink

PROOF = "proof.json"
PROOF_LIMIT = 64 << 20  # bytes
USUAL_MODES = ("100644", "100755", "120000", "160000")
NESTING = 16


def check_commit(root: Digest, commit: str, submodules: bool, proof: bytes, store: BlobStore) -> None:
    """Check that ``root`` is the tree of ``commit``, with its submodules in place or left empty.
    Raises FetchError."""
    try:
        parts = json.loads(proof)
        checker = _Checker(parts, submodules, "sha256" if len(commit) == 64 else "sha1", store)
        checker.repository(root, "", commit, 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"the git worker's proof for {commit} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Checker:
    parts: Mapping[str, Any]
    submodules: bool
    algorithm: str
    store: BlobStore

    def repository(self, root: Digest, folder: str, commit: str, depth: int) -> None:
        part = self.parts[folder]
        raw = base64.b64decode(part["commit"])
        if depth > NESTING or self._id("commit", raw) != commit:
            raise FetchError(f"the git worker gave another commit than {commit} for {folder or 'the source'!r}")
        line = raw.partition(b"\n")[0].decode("ascii", "replace")
        if line != f"tree {self._tree(root, '', folder, part, depth)}":
            raise FetchError(f"the git worker gave files that are not those of commit {commit}")

    def _tree(self, root: Digest, path: str, folder: str, part: Mapping[str, Any], depth: int) -> str:
        """The id of the tree object this directory would be."""
        lines = []
        for name, node in Directory.decode(self.store.read(root)).entries.items():
            inner = f"{path}/{name}" if path else name
            mode, object_id = self._entry(node, inner, folder, part, depth)
            key = name.encode() + (b"/" if mode == "40000" else b"")  # how git orders directories
            lines.append((key, f"{mode} ".encode() + name.encode() + b"\0" + bytes.fromhex(object_id)))
        return self._id("tree", b"".join(line for _, line in sorted(lines)))

    def _entry(self, node: Node, path: str, folder: str, part: Mapping[str, Any], depth: int) -> tuple[str, str]:
        if isinstance(node, Symlink):
            return "120000", self._id("blob", node.target.encode())
        if isinstance(node, File):
            usual = "100755" if node.executable else "100644"
            return str(part["modes"].get(path, usual)), self._file(node.digest)
        link = part["links"].get(path)
        if link is None:
            return "40000", self._tree(node.digest, path, folder, part, depth)
        self._submodule(node, f"{folder}/{path}" if folder else path, link, depth)
        return "160000", link

    def _submodule(self, node: Subdir, folder: str, commit: str, depth: int) -> None:
        if self.submodules:
            self.repository(node.digest, folder, commit, depth + 1)
        elif node.digest != tree.EMPTY_TREE:
            raise FetchError(f"the git worker put files into the submodule {folder!r}, which was not asked for")

    def _file(self, digest: Digest) -> str:
        state = hashlib.new(self.algorithm, f"blob {digest.size}\0".encode(), usedforsecurity=False)
        with self.store.open(digest) as stream:
            while piece := stream.read(1 << 20):
                state.update(piece)
        return state.hexdigest()

    def _id(self, kind: str, data: bytes) -> str:
        head = f"{kind} {len(data)}\0".encode()
        return hashlib.new(self.algorithm, head + data, usedforsecurity=False).hexdigest()
