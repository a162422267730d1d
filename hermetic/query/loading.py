"""Where the unconfigured graph comes from: the loader, or what an earlier query kept of it.

Guarantees: a kept graph is used only while every file that loading read, and every folder it looked
into, is what it was, and only for queries about packages it has. A damaged, foreign or outdated one is
made again without a word; a folder that cannot be written costs time, nothing else.

Two graphs are kept: ``all`` of the whole workspace, ``some`` of what the last narrower query needed, so
that asking about one target never loads the packages it has nothing to do with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.analysis.targetfile import Block, decode
from hermetic.analysis.targetfile import Damaged as DamagedBlock
from hermetic.errors import QueryError
from hermetic.query.environment import wanted
from hermetic.query.syntax import Word
from hermetic.query.targets import Targets, circles_of, lies_below
from hermetic.store.sections import Damaged, Sections, write_sections
from hermetic.store.witness import Moved, Witness

if TYPE_CHECKING:
    from hermetic.execution.frontend import Frontend, LoadedTargets


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

    def lies_in(self, block: Block) -> bool:
        """Whether everything this asks for has been loaded into ``block``."""
        scope = block.head["scope"]
        tops: Sequence[str] = scope["folders"]
        loaded = frozenset(scope["loaded"])
        return all(any(lies_below(one, top) for top in tops) for one in self.folders) and all(
            one in loaded or any(lies_below(one, top) for top in tops) for one in self.packages
        )


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
        for name in ("all", "some"):
            kept = self._kept(name, scope)
            if kept is not None:
                return kept
        loaded = self.frontend().targets(scope.folders, scope.packages)
        circles = circles_of(loaded.block)
        self._keep("all" if "" in scope.folders else "some", loaded, circles)
        return Targets(loaded.block, circles=circles)

    def _kept(self, name: str, scope: Scope) -> Targets | None:
        try:
            with Sections(self.state / name, _magic()) as sections:
                about = json.loads(sections.read("about"))
                if about["root"] != str(self.root) or about["ignore"] != list(self.ignore):
                    return None
                block = decode(sections.read("targets"))
                if not scope.lies_in(block) or Witness.read(sections).changed():
                    return None
            circles = [[int(node) for node in circle] for circle in about["circles"]]
        except (OSError, ValueError, KeyError, TypeError, Damaged, DamagedBlock):
            return None
        return Targets(block, circles=circles)

    def _keep(self, name: str, loaded: LoadedTargets, circles: Sequence[Sequence[int]]) -> None:
        errors = loaded.block.head["errors"]
        if errors["packages"] or errors["folders"]:
            return  # what a failed package looked for is not known
        about = {"root": str(self.root), "ignore": list(self.ignore), "circles": circles}
        with suppress(OSError, Moved):
            witness = Witness.take(self.root, loaded.read_files, loaded.read_folders)
            sections = {"about": json.dumps(about).encode(), "targets": bytes(loaded.block.data), **witness.sections()}
            write_sections(self.state / name, _magic(), sections)


def _magic() -> str:
    from hermetic import __version__

    return f"hb query 1 {__version__}"
