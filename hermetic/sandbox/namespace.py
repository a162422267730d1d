"""The ``namespace`` strategy: one bubblewrap process per action, no daemon, no privileges.

Guarantees, each attacked by a test in ``tests/attack``: no network, not even the host's abstract
sockets; own process, IPC, host name, user and cgroup namespaces; the root is read-only, or an overlay
whose lower layers never change; nothing outlives the command; output beyond the limit is dropped and
counted; a secret's value is in no log; the time limit and a cancellation kill every process.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hermetic.errors import ActionError, HbError, SandboxUnavailable, StoreError
from hermetic.redact import Redactor
from hermetic.sandbox.bwrap import Layout, arguments
from hermetic.sandbox.cgroup import Group, Groups
from hermetic.sandbox.doubts import Before, Linux, Machine, give_files, require_files
from hermetic.sandbox.first import FirstProcess, Usage, adopt_orphans, readable
from hermetic.sandbox.owners import read_record
from hermetic.sandbox.secrets import opened
from hermetic.sandbox.spec import Cancel, Control, Ending, SandboxResult, SandboxSpec

LOOK = 0.2  # seconds between looks at its memory
POLL = 0.1  # seconds between looks at cancellation and the deadline
CHDIR = "Can't chdir to "  # how bubblewrap begins to say so
UMASK = 0o022  # the caller's would show in the modes of what is made


@dataclass(slots=True)
class NamespaceSandbox:
    """``groups``: where sandboxes' control groups are made; without, only what the kernel says at the end
    is measured, and no limit holds. ``machine``: what may cast doubt on a result."""

    groups: Groups | None = None
    machine: Machine = field(default_factory=Linux)
    name: str = "namespace"

    def run(self, spec: SandboxSpec, work: Path, cancel: Cancel) -> SandboxResult:
        layout = Layout(work)
        require_files()
        with opened(spec.secrets) as secrets:
            argv = arguments(spec, layout, secrets)
            before = Before.now(self.machine)
            started = time.monotonic()
            process, first, group = _start(argv, spec, self.groups, tuple(secrets.values()))
        if group is not None and isinstance(cancel, Control):
            cancel.joined(group)
        watch = _Watch(process, started + spec.timeout, cancel, group, looked=started)
        logs = [Log(work / name, spec.log_limit, Redactor(spec.secrets)) for name in ("stdout", "stderr")]
        try:
            stopped = _supervise(process, logs, watch)
            for log in logs:
                log.close()
        except OSError as error:
            hint = "free some space, or use a store on another disk with --store"
            raise StoreError(f"the command's log cannot be written: {error.strerror}", hint=hint) from error
        finally:
            watch.kill()  # what still runs: nothing, unless supervising it failed
            code, usage, executed = _reap(process, first)
            for log in logs:
                log.abandon()
            kills = group.oom_kills() if group is not None else None
            if group is not None:
                group.close()
        if not executed and stopped is None:
            _explain_setup_failure(logs[1].path)
        oom = kills > 0 if kills is not None else before.killed()
        return SandboxResult(
            ending=stopped or _ending(code, oom, sure=kills is not None),
            exit_code=code,
            stdout=logs[0].path,
            stderr=logs[1].path,
            outputs=layout.outputs,
            wall=time.monotonic() - started,
            cpu=usage.cpu,
            max_rss=usage.max_rss,
            owners=read_record(work / "owners"),
            tainted=before.doubt(work, oom),
            peak=max(usage.max_rss, group.peak if group is not None else 0),
            read=usage.read,
            written=usage.written,
            tmp=layout.tmp,
        )


def _start(
    argv: list[str], spec: SandboxSpec, groups: Groups | None, secrets: tuple[int, ...]
) -> tuple[subprocess.Popen[bytes], FirstProcess, Group | None]:
    """A session of its own keeps the terminal's Ctrl-C for hb, which then cancels in order. The first
    process is held back until its limits are set and it is in its group."""
    adopt_orphans()
    status, theirs = os.pipe()
    held, release = os.pipe()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [argv[0], "--json-status-fd", str(theirs), "--block-fd", str(held), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            pass_fds=(theirs, held, *spec.fds, *secrets),
            umask=UMASK,
            start_new_session=True,
        )

    berth = groups.berth(spec.memory) if groups is not None else None
    try:
        process = berth.start(start) if berth is not None else start()
    except BaseException:
        os.close(status)
        os.close(release)
        if berth is not None:
            berth.leave()
        raise
    finally:
        os.close(theirs)
        os.close(held)
    first = FirstProcess.of(status)
    group = groups.make(first.pid or process.pid, spec.memory, berth) if groups is not None else None
    with os.fdopen(release, "wb", 0) as let_go, suppress(OSError):  # killed already
        if first.pid:
            resource.prlimit(first.pid, resource.RLIMIT_CORE, (0, 0))
            give_files(first.pid)
            if spec.entered is not None:
                spec.entered(first.pid)
        let_go.write(b"x")
    return process, first, group


def _reap(process: subprocess.Popen[bytes], first: FirstProcess) -> tuple[int, Usage, bool]:
    """Exit code, what was used, and whether the command was executed."""
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    _, status = os.waitpid(process.pid, 0)
    process.returncode = code = os.waitstatus_to_exitcode(status)
    usage, executed = first.wait()
    return (128 - code if code < 0 else code), usage, executed


@dataclass(slots=True)
class Log:
    """One stream of a command, written to a file up to a limit; the rest is counted. No value of a secret
    reaches the file, not for a moment."""

    path: Path
    limit: int
    redactor: Redactor = field(default_factory=lambda: Redactor(()))
    kept: int = 0
    dropped: int = 0
    _file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        self._keep(self.redactor.feed(data))

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        if self._file is None:
            self._file = self.path.open("wb")
        room = max(self.limit - self.kept, 0)
        self._file.write(data[:room])
        self.kept += min(len(data), room)
        self.dropped += max(len(data) - room, 0)

    def close(self) -> None:
        self._keep(self.redactor.end())
        if self.dropped:
            self.limit += 200
            self._keep(f"\n… {self.dropped} bytes dropped (the limit is {self.limit - 200})\n".encode())
        if self._file is None:
            self.path.touch()
        else:
            self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever could not be written to it. Nothing after ``close``."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


@dataclass(slots=True)
class _Watch:
    """When a command must end, and how much memory it has meanwhile."""

    process: subprocess.Popen[bytes]
    deadline: float
    cancel: Cancel
    group: Group | None
    looked: float

    def verdict(self) -> Ending | None:
        """Why it was killed, if it was."""
        now = time.monotonic()
        if self.group is not None and now - self.looked >= LOOK:
            self.looked = now
            self.group.look()
        ending = Ending.CANCELLED if self.cancel.is_set() else Ending.TIMEOUT if now > self.deadline else None
        if ending is not None:
            self.kill()
        return ending

    def kill(self) -> None:
        """``--die-with-parent`` takes the rest. Not ``send_signal``, which would reap a process that has
        just ended by itself. A frozen process does not die of a signal everywhere, so it is thawed."""
        os.kill(self.process.pid, signal.SIGKILL)
        if self.group is not None and self.group.frozen:
            self.group.freeze(False)


def _supervise(process: subprocess.Popen[bytes], logs: list[Log], watch: _Watch) -> Ending | None:
    """Copy output until both pipes are closed and bubblewrap has ended. Returns why it was killed, if it was."""
    stopped: Ending | None = None
    with selectors.DefaultSelector() as selector:
        for stream, log in zip((process.stdout, process.stderr), logs, strict=True):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, log)
        while selector.get_map():
            for key, _ in selector.select(POLL):
                data = os.read(key.fd, 1 << 16)
                if data:
                    key.data.write(data)
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
            if stopped is None:
                stopped = watch.verdict()
    end = os.pidfd_open(process.pid)  # not reaped yet, so the number is still its own
    try:
        while stopped is None and not readable(end, POLL):  # it may close its output and go on working
            stopped = watch.verdict()
    finally:
        os.close(end)
    return stopped


def _ending(code: int, oom: bool, *, sure: bool) -> Ending:
    """``sure``: it was a process of this sandbox that was killed for memory; then any failure is due to it."""
    if oom and code and (sure or code == 128 + signal.SIGKILL):
        return Ending.OOM
    return Ending.SIGNALLED if code > 128 else Ending.EXITED


def _explain_setup_failure(stderr: Path) -> None:
    with stderr.open("rb") as stream:
        text = stream.read(2000).decode(errors="replace").strip()
    if text.startswith("bwrap: "):
        raise _setup_failure(text.removeprefix("bwrap: "))


def _setup_failure(text: str) -> HbError:
    """What bubblewrap says, as the fault of the command's declaration or else of the machine."""
    if text.startswith("execvp "):
        hint = "add the target that brings it to the inputs (a script also needs the interpreter of its first line)"
        return ActionError(f"the command cannot be started: {text.removeprefix('execvp ')}", hint=hint)
    if text.startswith(CHDIR):
        hint = "make it an input or an output, or work below /build"
        return ActionError(f"the working directory is not in the sandbox: {text.removeprefix(CHDIR)}", hint=hint)
    from hermetic.sandbox.probe import advice

    return SandboxUnavailable(f"the sandbox could not be made: {text}", hint=advice(text))
