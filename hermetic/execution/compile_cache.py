"""Actions with a compile cache: what is put around a command, and what is made of it afterwards.

Guarantees: an action without launchers, or a build that does not want it, is run as ever. A tool that cannot
be had, a root without a shell or a network that cannot be entered means a build without a compile cache and a
note, never an error. What a command wrote is published only when its result is stored. The tool is mounted
read-only and is in no key; a result is marked (``hermetic.store.assisted``).

What the tool's tree must hold is in docs/guide/compile-cache.md: ``bin/run URL STATS [NAME=VALUE]… --
COMMAND…`` starts it, runs the command with the variables, leaves statistics and exits as the command did.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.action import COMPILE_CACHE, Action
from hermetic.errors import HbError
from hermetic.execution import compile_stats
from hermetic.proto import hb_pb2
from hermetic.sandbox.bwrap import environment, provides
from hermetic.sandbox.spec import Mount, SandboxResult, SandboxSpec

if TYPE_CHECKING:  # what most builds never need is not imported
    from hermetic.sandbox.endpoint import Endpoint
    from hermetic.store.compile.tiers import Tiers

SHELL = "/bin/sh"  # bin/run is a script
RUN = f"{COMPILE_CACHE}/bin/run"


@dataclass
class Helped:
    """A command with a compile cache, or as it was when there is none for it."""

    spec: SandboxSpec
    _cache: CompileCache | None = None
    _action: Action | None = None
    _endpoint: Endpoint | None = None

    @property
    def used(self) -> bool:
        return self._endpoint is not None

    def mark(self, result: SandboxResult) -> hb_pb2.CompileCache | None:
        """What the result has to say of it. Says so when it did not start."""
        if self._endpoint is None or self._cache is None or self._action is None:
            return None
        path = result.tmp / compile_stats.NAME if result.tmp is not None else Path()
        found, problem = compile_stats.read(path)
        if found is None:
            self._cache.say(f"{self._action.label} was compiled without the compile cache: {problem}")
        found = found or hb_pb2.CompileCache()
        found.served, found.written = self._endpoint.served, self._endpoint.written
        return found

    def publish(self) -> None:
        """The result is good, and so is what was compiled for it."""
        if self._endpoint is not None and self._cache is not None:
            try:
                self._cache.tiers().publish(self._endpoint.held)
            except OSError as error:
                self._cache.say(f"what was compiled cannot be kept: {error.strerror}")


@dataclass
class CompileCache:
    """``tool``: the staged tree of the tool; raises HbError. ``everywhere``: for every action that has
    launchers, not only where the target asks for it. ``tiers``: what it keeps, made when first needed."""

    tool: Callable[[], Path]
    tiers: Callable[[], Tiers]
    note: Callable[[str], None]
    everywhere: bool = True
    _tool: Path | None = None
    _problem: bool = False
    _said: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wanted(self, action: Action) -> bool:
        """Not with secrets: what is compiled with one might hold it, and is kept."""
        return bool(action.launchers) and not action.secrets and (self.everywhere or action.compile_cache)

    @contextmanager
    def around(self, action: Action, spec: SandboxSpec, work: Path) -> Iterator[Helped]:
        """The command to run instead. Requests are answered until the block ends."""
        tool = self._had() if self.wanted(action) else None
        if tool is None:
            yield Helped(spec)
            return
        if not provides(spec.roots, SHELL):
            self.say(f"{action.label} is compiled without the compile cache: its root has no {SHELL}")
            yield Helped(spec)
            return
        from hermetic.sandbox.endpoint import URL, Endpoint
        from hermetic.store.compile.objects import Objects

        tiers = self.tiers()
        tiers.warm()
        held = Objects(work / "compiled")
        with Endpoint(tiers.open, held) as endpoint:
            launched = _launched(action, spec, tool, URL, self._opener(action, endpoint))
            yield Helped(launched, self, action, endpoint)

    def say(self, text: str) -> None:
        """Once."""
        with self._lock:
            new = text not in self._said
            self._said.add(text)
        if new:
            self.note(text)

    def _opener(self, action: Action, endpoint: Endpoint) -> Callable[[int], None]:
        def entered(pid: int) -> None:
            try:
                endpoint.open(pid)
            except (OSError, subprocess.SubprocessError) as error:
                self.say(f"{action.label}: {error}")

        return entered

    def _had(self) -> Path | None:
        """The tool, which is built when the first action needs it."""
        with self._lock:
            if self._tool is not None or self._problem:
                return self._tool
            try:
                self._tool = self.tool()
                return self._tool
            except HbError as error:
                self._problem, problem = True, str(error)
        self.say(f"there is no compile cache: {problem}")
        return None


def _launched(action: Action, spec: SandboxSpec, tool: Path, url: str, entered: Callable[[int], None]) -> SandboxSpec:
    have = environment(spec)
    variables = [f"{name}={value.replace('%', have.get(name, ''))}" for name, value in action.launchers]
    return replace(
        spec,
        argv=(RUN, url, f"/tmp/{compile_stats.NAME}", *variables, "--", *spec.argv),
        mounts=(*spec.mounts, Mount(tool, COMPILE_CACHE)),
        entered=entered,
    )


@contextmanager
def around(cache: CompileCache | None, action: Action, spec: SandboxSpec, work: Path) -> Iterator[Helped]:
    if cache is None:
        yield Helped(spec)
        return
    with cache.around(action, spec, work) as helped:
        yield helped
