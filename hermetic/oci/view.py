"""An image seen as the container sees it: all layers merged, symlinks followed inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hermetic import tree
from hermetic.digest import Digest
from hermetic.globs import Globs
from hermetic.oci.image import read_json
from hermetic.oci.layout import layer_numbers
from hermetic.store.protocols import BlobStore
from hermetic.tree import Directory, File, Subdir, Symlink

Node = File | Symlink | Directory


@dataclass(frozen=True)
class View:
    """``nodes``: every path (no leading slash) of the merged layers."""

    store: BlobStore
    config: Mapping[str, Any]
    nodes: Mapping[str, Node]

    def resolve(self, path: str) -> Node | None:
        """The node at ``path`` with all symlinks followed, or None."""
        real = self.real(path)
        return None if real is None else self.nodes.get(real)

    def real(self, path: str) -> str | None:
        """``path`` without symlinks in it (no leading slash), or None when it leads nowhere."""
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        for _ in range(400):
            if not pending:
                return "/".join(done)
            part = pending.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            node = self.nodes.get(here)
            if node is None:
                return None
            if isinstance(node, Symlink):
                done = [] if node.target.startswith("/") else done
                pending += [one for one in reversed(node.target.split("/")) if one not in ("", ".")]
            else:
                done.append(part)
        return None

    def below(self, prefix: str) -> Iterator[tuple[str, Node]]:
        top = prefix.strip("/")
        for path, node in self.nodes.items():
            if path == top or path.startswith(f"{top}/"):
                yield path, node

    def matching(self, glob: str) -> list[str]:
        globs = Globs.of([glob.strip("/")])
        return [path for path in self.nodes if path and globs.covers(path)]

    def files(self) -> Iterator[tuple[str, File]]:
        for path, node in self.nodes.items():
            if isinstance(node, File):
                yield path, node

    def text(self, path: str) -> str:
        node = self.resolve(path)
        return self.store.read(node.digest).decode("utf-8", "replace") if isinstance(node, File) else ""

    def env(self) -> dict[str, str]:
        lines = self.config.get("config", {}).get("Env", [])
        return {line.partition("=")[0]: line.partition("=")[2] for line in lines}

    def users(self) -> dict[str, dict[str, str]]:
        found = {}
        for line in self.text("/etc/passwd").splitlines():
            fields = line.split(":")
            if len(fields) == 7:
                found[fields[0]] = dict(zip(("uid", "gid", "home", "shell"), (*fields[2:4], *fields[5:7]), strict=True))
        return found

    @cached_property
    def library_dirs(self) -> list[str]:
        """Where the dynamic linker looks without being told: configured and default directories."""
        found = []
        for path in sorted(self.matching("/etc/ld.so.conf.d/*.conf")):
            found += [line.strip() for line in self.text(path).splitlines() if line.startswith("/")]
        arch = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}.get(self.config["architecture"], "")
        found += [f"/lib/{arch}", f"/usr/lib/{arch}", "/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"]
        return [real for one in found if (real := self.real(one)) is not None]


def view_of(image: Digest, store: BlobStore, below: Sequence[Digest] = ()) -> View:
    """The view of an image tree. ``below``: the trees its base image brings."""
    trees = list(below)
    for number in layer_numbers(image, store.read):
        node = tree.lookup(image, f"layers/{number}/tree", store.read)
        if isinstance(node, Subdir):
            trees.append(node.digest)
    merged = tree.merge(trees, store.read, store.put, replace_files=True)
    nodes = dict(tree.walk(merged, store.read))
    return View(store, read_json(image, "config.json", store.read)[0], nodes)
