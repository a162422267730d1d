"""Errors at the lines they come from, where GitHub Actions reads what a step prints."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.asked import on_github
from hermetic.cli.streams import say
from hermetic.errors import HbError, Location
from hermetic.report.annotations import Annotation, lines

if TYPE_CHECKING:
    from hermetic.execution.outcome import Finished

TAIL = 10  # lines of a log


def annotate(failures: Iterable[Finished], errors: Iterable[HbError], root: Path) -> None:
    """``failures``: of actions; ``errors``: of what could not be loaded or analysed. ``root``: the workspace."""
    if on_github():
        found = [of_action(one, root) for one in failures] + [of_error(one, root) for one in errors]
        for line in lines(found):
            say(line)


def annotate_end(error: HbError) -> None:
    """The error that a command ended with."""
    if on_github():
        from hermetic.cli import workspace

        root = Path.cwd()
        with suppress(HbError):
            root = workspace.find(root).root
        annotate((), (error,), root)


def of_action(done: Finished, root: Path) -> Annotation:
    action = done.action
    end = "\n".join(done.tail.splitlines()[-TAIL:])
    message = words(done.error) if done.error else done.outcome.value
    return _at(f"{action.label} {action.mnemonic}", f"{message}\n\n{end}" if end else message, action.location, root)


def of_error(error: HbError, root: Path) -> Annotation:
    return _at(error.label or "hb", words(error), error.location, root)


def words(error: HbError) -> str:
    """What is wrong and what to do next, without the place."""
    return f"{error.message}\n→ {error.hint}" if error.hint else error.message


def _at(title: str, message: str, location: Location | None, root: Path) -> Annotation:
    """A place outside the repository is named in the message: annotations know only files of it."""
    if location is None:
        return Annotation(title, message)
    place = root / location.path
    repository = Path(os.environ.get("GITHUB_WORKSPACE") or root)
    if not place.is_relative_to(repository) or ".." in place.parts:
        return Annotation(title, f"{location}: {message}")
    return Annotation(title, message, str(place.relative_to(repository)), location.line)
