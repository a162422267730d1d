"""A git revision's files in a folder of their own. The user's checkout, index and branches are not touched.

An index of our own is read from the revision's tree and checked out under a prefix, so attributes and
filters work as in a checkout. Submodules are not followed: their folders are missing.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hermetic.errors import CommandLineError


def check_out(workspace: Path, revision: str, scratch: Path) -> Path:
    """The workspace as it was at ``revision``, below ``scratch``. Raises CommandLineError when
    there is no such revision, or no git."""
    commit = _git(workspace, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    inside = _git(workspace, "rev-parse", "--show-prefix").rstrip("\n")
    top = scratch / "revision"
    top.mkdir()
    index = {"GIT_INDEX_FILE": str(scratch / "revision-index")}
    _git(workspace, "read-tree", commit, more=index)
    here = Path(_git(workspace, "rev-parse", "--show-toplevel").rstrip("\n"))
    names = _git(here, "ls-files", "-z", "--", inside or ".", more=index)
    _git(here, "checkout-index", "-z", "--stdin", f"--prefix={top}/", more=index, given=names)
    folder = top / inside
    if not (folder / "pyproject.toml").is_file():
        raise CommandLineError(f"{revision} has no workspace at {inside or 'its top'}")
    return folder


def ancestors(workspace: Path, count: int) -> list[str]:
    """The ids of HEAD's commit and of what came before it on its own line, newest first."""
    return _git(workspace, "rev-list", "--first-parent", f"--max-count={count}", "HEAD").split()


def changed(workspace: Path) -> list[str]:
    """The files of the workspace that are not as in HEAD, new ones too."""
    rows = _git(workspace, "status", "--porcelain", "-z", "--no-renames", "--", ".").split("\0")
    return [row[3:] for row in rows if row]


def _git(folder: Path, *words: str, more: dict[str, str] | None = None, given: str = "") -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command,
            input=os.fsencode(given),
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0", **(more or {})},
        )
    except FileNotFoundError:
        raise CommandLineError("there is no git on this machine", hint="install git") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        if "not a git repository" in said:
            hint = "revisions and commits are those of the git repository the workspace lies in"
            raise CommandLineError(f"{folder} is in no git repository", hint=hint)
        said = said or f"there is no revision {words[-1].partition('^')[0]!r}"
        raise CommandLineError(said, hint="git log lists revisions" if words[0] == "rev-parse" else None)
    return os.fsdecode(done.stdout)
