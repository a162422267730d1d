"""Runs BUILD code where it can do no harm: read-only files, no network, no environment, no home.

The child sees the interpreter, hb's packages, the system's libraries and the workspace, and may
write to one cache folder. Credentials of the parent are not reachable: not as variables, not as
files, not through other processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hermetic.bubblewrap import PROC, find_bwrap
from hermetic.errors import BuildFileError

SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache")


@dataclass(frozen=True, slots=True)
class Answer:
    returncode: int
    stdout: bytes
    stderr: bytes


def run_boxed_python(
    module: str,
    request: bytes,
    *,
    read: Sequence[Path],
    write: Sequence[Path],
    python_path: Sequence[Path],
    deadline: float,
) -> Answer:
    """Run ``python -m module`` with ``request`` as its input. Raises BuildFileError at the deadline."""
    argv = [find_bwrap(), "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    argv += ["--disable-userns", "--hostname", "hb", *PROC, "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in _outermost([*map(Path, SYSTEM), *_interpreter(), *read]):
        argv += _bind("--ro-bind", path)
    for path in write:
        argv += ["--bind", str(path), str(path)]
    argv += ["--remount-ro", "/"]  # what holds the mounts
    argv += ["--clearenv", "--setenv", "LC_ALL", "C.UTF-8", "--setenv", "PYTHONHASHSEED", "0"]
    argv += ["--setenv", "PYTHONPATH", os.pathsep.join(map(str, python_path))]
    argv += ["--chdir", "/", "--", sys.executable, "-s", "-B", "-m", module]
    try:
        # None for bubblewrap either: it is the box's first process, and BUILD code can read /proc/1/environ.
        done = subprocess.run(argv, input=request, capture_output=True, timeout=deadline, check=False, env={})
    except subprocess.TimeoutExpired:
        raise BuildFileError(
            f"loading the BUILD files took longer than {deadline:.0f} s",
            hint="look for a loop that never ends, or raise load_deadline in [tool.hb]",
        ) from None
    return Answer(done.returncode, done.stdout, done.stderr)


def _interpreter() -> list[Path]:
    """Where Python lies. Its prefix may be a link with the version left out, and the program one into it."""
    return [Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve()]


def _bind(kind: str, path: Path) -> list[str]:
    if path.is_symlink() and str(path) in SYSTEM:  # /bin → usr/bin; elsewhere bubblewrap follows the link
        return ["--symlink", str(path.readlink()), str(path)]
    return [kind, str(path), str(path)]


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Existing paths, without those that lie in another of them."""
    found: list[Path] = []
    for path in sorted({path for path in paths if path.exists()}, key=lambda one: len(one.parts)):
        if not any(other in path.parents for other in found if not other.is_symlink()):
            found.append(path)
    return found
