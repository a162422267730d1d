"""What a sandbox is asked to run, and what it says afterwards. Plain frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from hermetic.action import Output, Root
from hermetic.epoch import SOURCE_DATE_EPOCH as SOURCE_DATE_EPOCH
from hermetic.sandbox.cgroup import Group
from hermetic.secret import Secret

JOBSERVER = "/dev/hb-jobserver"  # /dev is the sandbox's own and in no output


class Ending(StrEnum):
    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    OOM = "oom"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Mount:
    """A staged tree or a single file at an absolute path of the sandbox."""

    source: Path
    path: str
    writable: bool = False  # through an overlay: the source never changes


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """``roots``: staged trees forming the root filesystem, lowest first, merged by overlayfs.

    ``mounts``: further trees and files, not in the roots. ``outputs``: declared outputs; those of kind tree at
    their path are writable directories that exist and are empty when the command starts; for
    those of kind blob the parent directory is writable. ``env`` is everything the command sees
    beyond the constants (SOURCE_DATE_EPOCH, TZ, LC_ALL, HOME=/build, PATH when not declared).
    ``speed`` is what tunes speed and is never in the key (MAKEFLAGS, MAX_JOBS, …); so are ``jobserver``,
    a FIFO that appears at JOBSERVER, and ``fds``, descriptors the command inherits. ``memory``: bytes that
    its processes may have together, 0 for no limit. ``secrets`` appear as files in /run/secrets, and their
    values in no log. ``entered`` is called with the process id of its first process when the sandbox has its
    network and before the command is let go.
    """

    argv: tuple[str, ...]
    roots: tuple[Path, ...]
    mounts: tuple[Mount, ...] = ()
    outputs: tuple[Output, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    speed: tuple[tuple[str, str], ...] = ()
    cwd: str = "/build"
    root: Root = Root.READONLY
    uid: int = 1000
    timeout: float = 3600.0
    log_limit: int = 16 << 20  # bytes kept of each of stdout and stderr
    memory: int = 0
    jobserver: Path | None = None
    fds: tuple[int, ...] = ()
    secrets: tuple[Secret, ...] = ()
    entered: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """``outputs``: host path of each declared output by name (it may not exist: the command did
    not make it). For Root.OVERLAY the output at "/" is the overlay's upper directory, and
    ``owners`` what chown recorded. ``debug``: a command line that re-enters the sandbox."""

    ending: Ending
    exit_code: int  # of the command, or 128 + signal
    stdout: Path
    stderr: Path
    outputs: dict[str, Path]
    wall: float  # seconds
    cpu: float  # user + system seconds
    max_rss: int  # bytes
    owners: tuple[tuple[str, int, int], ...] = field(default=())  # path, uid, gid
    debug: str = ""
    tainted: str = ""  # why the result must not be cached although it exited 0
    peak: int = 0  # bytes that all processes had together, as far as was seen
    read: int = 0  # bytes from devices
    written: int = 0  # bytes to devices
    tmp: Path | None = None  # what was /tmp. Whatever lies there, the command made it


class Cancel(Protocol):
    """Set by Ctrl-C or by the executor when the build is over."""

    def is_set(self) -> bool: ...


@runtime_checkable
class Control(Cancel, Protocol):
    """A Cancel that wants to know the group a sandbox's processes are in, while they run."""

    def joined(self, group: Group) -> None: ...


class Sandbox(Protocol):
    """A strategy: namespace here; docker and remote are others."""

    name: str

    def run(self, spec: SandboxSpec, work: Path, cancel: Cancel) -> SandboxResult:
        """Run to the end. ``work`` is an empty directory of the action's own on the store's
        file system; the caller removes it."""
        ...
