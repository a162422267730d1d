"""Entering a sandbox by hand: the same mounts, rights and environment, with a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hermetic.sandbox.bwrap import Layout, arguments
from hermetic.sandbox.spec import SandboxSpec


def interactive(
    spec: SandboxSpec, work: Path, command: Sequence[str] = (), secrets: Mapping[str, int] | None = None
) -> list[str]:
    """argv of a shell (or ``command``) in the sandbox of ``spec``; its folders are made in ``work``. ``secrets``:
    see ``arguments``.

    The session stays the terminal's, which is what makes job control work; everything else is as
    for the action.
    """
    words = tuple(command) or ("/bin/bash", "--noprofile", "--norc", "-i")
    env = {**dict(spec.env), "PS1": "hb sandbox \\w $ ", "TERM": "xterm"}
    argv = arguments(replace(spec, argv=words, env=tuple(env.items())), Layout(work), secrets)
    argv.remove("--new-session")  # the first, bubblewrap's own
    return argv
