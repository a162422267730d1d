"""The user's git, run by a fetcher.

Guarantees: no hook runs, nothing is asked on a terminal, no other protocol than those of sources is spoken; what
the user configured of logins and addresses holds.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hermetic.errors import FetchError
from hermetic.fetch.git_login import NO_ACCESS, Access


class Failed(Exception):
    """One address did not serve the commit."""


def git(repository: Path | None, *arguments: str, access: Access = NO_ACCESS) -> bytes:
    """What a command of git prints. ``access``: the login it may use. Raises Failed."""
    place = [f"--git-dir={repository}"] if repository else []
    settings = ["-c", "core.hooksPath=/dev/null", "-c", "maintenance.auto=false", "-c", "gc.auto=0"]
    try:
        done = subprocess.run(
            ["git", *place, *settings, *access.settings, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment(),
            pass_fds=access.fds,
        )
    except FileNotFoundError as error:
        raise FetchError("git is not installed", hint="install git, or use http_archive") from error
    if done.returncode:
        text = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Failed("; ".join(line.strip() for line in text[-3:]) or f"git ended with {done.returncode}")
    return done.stdout


def environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    protocols = "https:http:ssh:git:file"
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": protocols, "LC_ALL": "C.UTF-8"}
