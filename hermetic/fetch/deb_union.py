"""The union of the trees of many Debian packages, as dpkg would have unpacked them.

Guarantees: whose file is at a path does not depend on who is first. Different files at one path are
allowed only when one package replaces (deb-control(5), Replaces) every other that has the path; the rest
is an error that names both. A directory where another package has a symbolic link lands where the link points, as
it does on disk: so a package that still ships /bin works with the merged /usr. Only directories that
several packages share are decoded.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermetic import tree
from hermetic.digest import Digest
from hermetic.errors import ActionError
from hermetic.fetch.deb_control import relations, satisfies
from hermetic.store.protocols import BlobStore
from hermetic.tree import PLAIN, Directory, Node, Subdir, Symlink

# directories that are links into usr since / and /usr were merged
MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
MAX_ROUNDS = 40  # links followed, as many as the kernel follows


@dataclass(frozen=True)
class Package:
    """A package's control fields, its control members and its tree as shipped."""

    fields: Mapping[str, str]
    control: Mapping[str, Node]
    data: Digest

    @property
    def name(self) -> str:
        return self.fields["Package"]

    @property
    def info(self) -> str:
        """What its files in the package database are called."""
        same = self.fields.get("Multi-Arch") == "same"
        return f"{self.name}:{self.fields['Architecture']}" if same else self.name

    def replaces(self, other: Package) -> bool:
        version = other.fields["Version"]
        wanted = relations(self.fields.get("Replaces", ""))
        return any(name == other.name and satisfies(version, operator, bound) for name, operator, bound in wanted)


@dataclass(frozen=True, slots=True)
class _Moved:
    """A directory of a package that another package has as a link."""

    number: int
    path: str
    target: str


def union(packages: Sequence[Package], store: BlobStore) -> Digest:
    """The root of the merged tree. ActionError where packages contradict each other."""
    roots = [_merged_usr(package.data, store) for package in packages]
    for _ in range(MAX_ROUNDS):
        merge = _Merge(packages, store)
        root = merge.directories("", [(number, found) for number, found in enumerate(roots)])
        if not merge.moved:
            return root
        for moved in merge.moved:
            roots[moved.number] = _move(roots[moved.number], moved.path, moved.target, store)
    raise ActionError(f"the links at {merge.moved[0].path} lead in a circle")


class _Merge:
    """One pass over all trees. ``moved`` is what it found lying below links."""

    def __init__(self, packages: Sequence[Package], store: BlobStore) -> None:
        self.packages, self.store = packages, store
        self.moved: list[_Moved] = []

    def directories(self, path: str, layers: Sequence[tuple[int, Digest]]) -> Digest:
        """``layers``: (number of the package, its directory at ``path``)."""
        if len({digest for _, digest in layers}) == 1:
            return layers[0][1]
        meta = PLAIN
        named: dict[str, list[tuple[int, Node]]] = {}
        for number, digest in layers:
            directory = Directory.decode(self.store.read(digest))
            if directory.meta != PLAIN:
                meta = directory.meta
            for name, node in directory.entries.items():
                named.setdefault(name, []).append((number, node))
        entries = {name: self._entry(f"{path}/{name}", found) for name, found in named.items()}
        return self.store.put(Directory(entries, meta).encode())

    def _entry(self, path: str, found: Sequence[tuple[int, Node]]) -> Node:
        if len(found) == 1:
            return found[0][1]
        inner = [(number, node.digest) for number, node in found if isinstance(node, Subdir)]
        leaves = [(number, node) for number, node in found if not isinstance(node, Subdir)]
        if not leaves:
            return Subdir(self.directories(path, inner))
        owner, node = self._winner(path, leaves)
        if inner and isinstance(node, Symlink):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), node.target))
            self.moved += [_Moved(number, path, target) for number, _ in inner]
        elif inner:
            self._conflict(path, owner, inner[0][0])
        return node

    def _winner(self, path: str, leaves: Sequence[tuple[int, Node]]) -> tuple[int, Node]:
        """The one whose package replaces all others that have something else there."""
        for number, node in leaves:
            rivals = [other for other, theirs in leaves if theirs != node]
            if all(self.packages[number].replaces(self.packages[other]) for other in rivals):
                return number, node
        first, node = leaves[0]
        self._conflict(path, first, next(other for other, theirs in leaves if theirs != node))
        raise AssertionError

    def _conflict(self, path: str, one: int, other: int) -> None:
        left, right = self.packages[one], self.packages[other]
        names = (left.name, right.name) if left.name != right.name else (left.info, right.info)
        raise ActionError(f"the packages {names[0]} and {names[1]} both have {path}", hint="leave one of them out")


def _merged_usr(root: Digest, store: BlobStore) -> Digest:
    """/bin, /lib and their like below /usr, whether or not the package that brings the links is there."""
    top = Directory.decode(store.read(root))
    for name in MERGED:
        if isinstance(top.entries.get(name), Subdir):
            root = _move(root, f"/{name}", f"/usr/{name}", store)
    return root


def _move(root: Digest, path: str, target: str, store: BlobStore) -> Digest:
    """``root`` with its directory at ``path`` at ``target`` instead."""
    node = tree.lookup(root, path, store.read)
    assert isinstance(node, Subdir)
    rest = _without(root, tree.parts(path), store)
    moved = tree.graft(target, node, store.put)
    return tree.merge([rest, moved], store.read, store.put)


def _without(root: Digest, names: Sequence[str], store: BlobStore) -> Digest:
    directory = Directory.decode(store.read(root))
    entries = dict(directory.entries)
    node = entries.pop(names[0])
    if len(names) > 1 and isinstance(node, Subdir):
        entries[names[0]] = Subdir(_without(node.digest, names[1:], store))
    return store.put(Directory(entries, directory.meta).encode())
