"""Where the unconfigured graph comes from: the loader, or what an earlier query kept of it.

Guarantees: a kept graph is used only while every file that loading read, and every folder it looked
into, is what it was, and only for queries about packages it has. A damaged, foreign or outdated one is
made again without a word; a folder that cannot be written costs time, nothing else.

The graph of the whole workspace is kept, and those of the last narrower queries: asking about one target
never loads packages it has nothing to do with. After a change only the packages it is about are evaluated.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.analysis.targetfile import Damaged as DamagedBlock
from hermetic.analysis.targetfile import decode
from hermetic.errors import QueryError
from hermetic.query.environment import wanted
from hermetic.query.syntax import Word
from hermetic.query.targets import Targets, circles_of, lies_below
from hermetic.store.sections import Damaged, Sections, write_sections
from hermetic.store.witness import Moved, Witness

if TYPE_CHECKING:
    from hermetic.execution.frontend import Frontend, LoadedTargets, Since

ALL = "all"  # the name of the whole graph
KEPT = 8  # graphs of one workspace


@dataclass(frozen=True, slots=True)
class Scope:
    """The packages a query needs to begin with: all below ``folders``, and ``packages``."""

    folders: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    @staticmethod
    def of(words: Iterable[Word], package: str) -> Scope:
        """What the patterns name. A word that is no pattern is left for the evaluation to refuse."""
        folders: dict[str, None] = {}
        packages: dict[str, None] = {}
        for word in words:
            with suppress(QueryError):
                pattern = wanted(word.text, package).pattern
                (folders if pattern.recursive else packages)[pattern.package] = None
        return Scope(tuple(folders), tuple(packages))

    def lies_in(self, folders: Sequence[str], packages: Iterable[str]) -> bool:
        """Whether this asks for nothing but what lies below ``folders``, and ``packages``."""
        loaded = frozenset(packages)
        return all(any(lies_below(one, top) for top in folders) for one in self.folders) and all(
            one in loaded or any(lies_below(one, top) for top in folders) for one in self.packages
        )

    @property
    def name(self) -> str:
        """The name of the file that keeps this scope's graph."""
        return hashlib.sha256(json.dumps([self.folders, self.packages]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """``state``: the folder to keep graphs in. ``ignore``: folders that are never packages. ``frontend``
    makes the loader, when it is needed."""

    root: Path
    state: Path
    ignore: Sequence[str]
    frontend: Callable[[], Frontend]

    def targets(self, scope: Scope) -> Targets:
        """The graph of everything in ``scope``."""
        stale: Since | None = None
        for path in self._files():
            kept = self._kept(path, scope)
            if isinstance(kept, Targets):
                return kept
            stale = stale or kept
        loaded = self.frontend().targets(scope.folders, scope.packages, stale)
        circles = circles_of(loaded.block)
        with suppress(OSError, Moved):
            self._keep(scope, loaded, circles)
        return Targets(loaded.block, circles=circles)

    def _files(self) -> list[Path]:
        """What is kept: the whole graph first, then the newest."""
        try:
            with os.scandir(self.state) as entries:
                found = [(entry.name != ALL, -entry.stat().st_mtime_ns, entry.name) for entry in entries]
        except OSError:
            return []
        return [self.state / name for _, _, name in sorted(found) if not name.startswith(".")]

    def _kept(self, path: Path, scope: Scope) -> Targets | Since | None:
        """The graph in a file; what changed since it was made; or nothing, if it is of no use for ``scope``."""
        try:
            with Sections(path, _magic()) as sections:
                about = json.loads(sections.read("about"))
                if about["root"] != str(self.root) or about["ignore"] != list(self.ignore):
                    return None
                if not scope.lies_in(about["folders"], about["loaded"]):
                    return None
                changed = Witness.read(sections).changed()
                if changed:
                    return _since(str(about["memory"]), changed)
                block = decode(sections.read("targets"))
            circles = [[int(node) for node in circle] for circle in about["circles"]]
        except (OSError, ValueError, KeyError, TypeError, Damaged, DamagedBlock):
            return None
        return Targets(block, circles=circles)

    def _keep(self, scope: Scope, loaded: LoadedTargets, circles: Sequence[Sequence[int]]) -> None:
        head = loaded.block.head
        if head["errors"]["packages"] or head["errors"]["folders"]:
            return  # what a failed package looked for is not known
        about = {
            "root": str(self.root),
            "ignore": list(self.ignore),
            "circles": circles,
            "memory": loaded.memory,
            **head["scope"],
        }
        witness = Witness.take(self.root, loaded.read_files, loaded.read_folders)
        sections = {"about": json.dumps(about).encode(), "targets": bytes(loaded.block.data), **witness.sections()}
        write_sections(self.state / (ALL if "" in scope.folders else scope.name), _magic(), sections)
        for old in self._files()[KEPT:]:
            old.unlink(missing_ok=True)


def _since(memory: str, changed: Sequence[str]) -> Since | None:
    from hermetic.execution.frontend import Since

    return Since(memory, changed) if memory else None


def _magic() -> str:
    from hermetic import __version__

    return f"hb query 1 {__version__}"
