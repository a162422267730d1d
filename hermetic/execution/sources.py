"""References resolved to content: workspace files through the file-state index, outputs by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hermetic import tree
from hermetic.action import Action, Inline, Inside, Kind, Made, Ref, SourceFile, SourceTree
from hermetic.digest import Digest
from hermetic.errors import ActionError
from hermetic.loading.links import Links
from hermetic.spans import UNHEARD, Spans
from hermetic.store.filestate import FileStates
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore
from hermetic.tree import File, Meta, Subdir, Symlink


class Sources:
    """Resolves every kind of reference. Contents of workspace files enter the store on first sight,
    and stay what they were then: a build sees one state of each file. Thread-safe."""

    def __init__(self, workspace: Path, store: BlobStore, states: FileStates, spans: Spans = UNHEARD) -> None:
        self._workspace = workspace
        self._store = store
        self._states = states
        self._seen: dict[str, File] = {}
        self._links = Links(workspace)
        self._spans = spans

    def resolve(self, ref: Ref, made: Mapping[tuple[str, str], Resolved]) -> Resolved:
        if isinstance(ref, Made):
            return made[ref.action, ref.output]
        if isinstance(ref, SourceFile):
            with self._spans.span("hash sources", files=1) as span:
                node = self._file(ref.path)
                span.say(bytes=node.digest.size)
            return Resolved(Kind.BLOB, node.digest, node.executable)
        if isinstance(ref, Inline):
            return Resolved(Kind.BLOB, self._store.put(ref.text.encode()), ref.executable)
        if isinstance(ref, SourceTree):
            with self._spans.span("hash sources", files=len(ref.files)):
                return self._tree(ref)
        return self._inside(ref, made[ref.tree.action, ref.tree.output])

    @property
    def seen(self) -> Mapping[str, File]:
        """Every workspace file this build has seen."""
        return self._seen

    def unchanged(self, action: Action) -> str | None:
        """The workspace file among an action's inputs that is not what this build saw first, or None."""
        for one in action.inputs:
            paths = [one.ref.path] if isinstance(one.ref, SourceFile) else []
            if isinstance(one.ref, SourceTree):
                paths = [f"{one.ref.base}/{name}".lstrip("/") for name in one.ref.files]
            for path in paths:
                seen = self._seen.get(path)
                if seen is not None and self._look(path) != seen:
                    return path
        return None

    def _file(self, path: str) -> File:
        node = self._seen.get(path)
        if node is not None and self._store.has(node.digest):
            return node
        place = self._workspace / path
        self._links.refuse(path, ActionError)  # again: analysis may have been another day's
        try:
            node = self._node(place)
        except FileNotFoundError:
            raise ActionError(f"the source file {path} does not exist") from None
        except IsADirectoryError:
            raise ActionError(f"{path} is a directory", hint="use glob() to name the files in it") from None
        except PermissionError:
            raise ActionError(f"the source file {path} may not be read", hint=f"run: chmod +r {place}") from None
        if not self._store.has(node.digest) and self._store.put_file(place) != node.digest:
            raise ActionError(f"{path} changed while it was read", hint="build again")
        return self._seen.setdefault(path, node)

    def _look(self, path: str) -> File | None:
        """The file as it is now, or None when it is gone."""
        try:
            return self._node(self._workspace / path)
        except OSError:
            return None

    def _node(self, place: Path) -> File:
        return File(self._states.digest(place), bool(place.stat().st_mode & 0o100))

    def _tree(self, ref: SourceTree) -> Resolved:
        nodes: dict[str, File | Symlink | Meta] = {}
        for name in ref.files:
            path = f"{ref.base}/{name}" if ref.base else name
            place = self._workspace / path
            nodes[name] = Symlink(os.readlink(place)) if place.is_symlink() else self._file(path)
        return Resolved(Kind.TREE, tree.build(nodes, self._store.put))

    def _inside(self, ref: Inside, whole: Resolved) -> Resolved:
        node = self._follow(whole.digest, ref.path)
        if isinstance(node, Subdir) and ref.kind is Kind.TREE:
            return Resolved(Kind.TREE, node.digest)
        if isinstance(node, File) and ref.kind is Kind.BLOB:
            return Resolved(Kind.BLOB, node.digest, node.executable)
        what = "nothing" if node is None else "a directory" if isinstance(node, Subdir) else "a file or link"
        raise ActionError(f"the tree of {ref.tree.action} has {what} at {ref.path!r}, where a {ref.kind} is wanted")

    def _follow(self, root: Digest, path: str) -> tree.Node | None:
        """The node at ``path``; a symlink at its end is followed inside the tree."""
        for _ in range(40):
            node = tree.lookup(root, path, self._store.read)
            if not isinstance(node, Symlink):
                return node
            target = node.target
            path = os.path.normpath(target if target.startswith("/") else os.path.join(os.path.dirname(path), target))
        return None
