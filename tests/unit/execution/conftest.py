"""A build without a machine: actions are values, the sandbox is a Python function behind the protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermetic.action import Action, ActionGraph, Input, Kind, Made, Mode, Output, Ref, SourceFile, TargetNode
from hermetic.errors import FetchError, Location
from hermetic.execution.executor import Executor, Options
from hermetic.execution.outcome import BuildResult, Finished, Foresight
from hermetic.execution.runner import Runner
from hermetic.execution.schedule_machine import Machine
from hermetic.execution.sources import Sources
from hermetic.fetch.spec import FetchRequest
from hermetic.sandbox.spec import Cancel, Ending, SandboxResult, SandboxSpec
from hermetic.spans import UNHEARD, Spans
from hermetic.store.disk import DiskStore
from hermetic.store.filestate import FileStates
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage
from hermetic.vault import Vault

Command = Callable[[SandboxSpec, Path, Cancel], int]


@dataclass
class FakeSandbox:
    """Runs ``argv[0]`` from a table. What a command returns is its exit code."""

    commands: dict[str, Command] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    ending: Ending = Ending.EXITED
    tainted: str = ""
    name: str = "fake"
    endings: dict[str, list[Ending]] = field(default_factory=dict)  # of a command's first runs

    def run(self, spec: SandboxSpec, work: Path, cancel: Cancel) -> SandboxResult:
        self.ran.append(spec.argv[0])
        (work / "stdout").write_text(f"log of {spec.argv[0]}\n")
        (work / "stderr").touch()
        outputs = {output.name: work / f"out-{output.name}" for output in spec.outputs}
        code = self.commands.get(spec.argv[0], copy_inputs)(spec, work, cancel)
        ending = Ending.CANCELLED if cancel.is_set() else self.ending
        if self.endings.get(spec.argv[0]):
            ending = self.endings[spec.argv[0]].pop(0)
        return SandboxResult(ending, code, work / "stdout", work / "stderr", outputs, 0.1, 0.1, 1, tainted=self.tainted)


def copy_inputs(spec: SandboxSpec, work: Path, cancel: Cancel) -> int:
    """The usual command: its output is its name and what it was given."""
    text = spec.argv[0] + "".join(mount.source.read_text() for mount in spec.mounts)
    for output in spec.outputs:
        (work / f"out-{output.name}").write_text(text)
    return 0


@dataclass
class Events:
    """A reporter that remembers. ``on_start`` is called when an action starts."""

    started_ids: list[str] = field(default_factory=list)
    outcomes: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def planned(self, total: int) -> None: ...
    def foreseen(self, foresight: Foresight) -> None: ...

    def started(self, action: Action) -> None:
        self.started_ids.append(action.id)

    def finished(self, done: Finished) -> None:
        self.outcomes.append((done.action.id, done.outcome.value))

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class World:
    """A workspace, a store, a sandbox, and a graph that grows by ``add``."""

    root: Path
    store: DiskStore
    sandbox: FakeSandbox = field(default_factory=FakeSandbox)
    actions: dict[str, Action] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    content: dict[str, bytes] = field(default_factory=dict)
    events: Events = field(default_factory=Events)
    cancel: threading.Event = field(default_factory=threading.Event)
    vault: Vault = field(default_factory=Vault)
    spans: Spans = UNHEARD

    def add(self, name: str, *needs: Ref | str, command: str = "", **more: object) -> str:
        """An action with one output; a need that is a name is that action's output."""
        refs = [Made(one, "out", Kind.BLOB) if isinstance(one, str) else one for one in needs]
        inputs = tuple(Input(f"/build/in{number}", ref) for number, ref in enumerate(refs))
        fields = {
            "id": name,
            "label": f"//:{name}",
            "mnemonic": "Test",
            "location": Location("BUILD.py", len(self.actions) + 1),
            "mode": Mode.COMMAND,
            "argv": (command or name,),
            "outputs": (Output("out", "/build/out", Kind.BLOB),),
            "inputs": inputs,
        }
        self.actions[name] = Action(**{**fields, **more})  # type: ignore[arg-type]
        return name

    def source(self, name: str, text: str) -> SourceFile:
        (self.root / name).write_text(text)
        return SourceFile(name)

    def copy(self, spec: SandboxSpec, work: Path, cancel: Cancel) -> int:
        return copy_inputs(spec, work, cancel)

    def build(
        self,
        *names: str,
        jobs: int = 2,
        again: Sequence[str] = (),
        machine: Machine | None = None,
        **options: bool,
    ) -> BuildResult:
        refs = tuple((name, Made(name, "out", Kind.BLOB)) for name in names)
        node = TargetNode("all", "//:all", "", Location("", 0), (), (), (), refs)
        graph = ActionGraph(self.actions, {"all": node}, ("all",))
        self.sandbox.ran.clear()
        self.fetched.clear()
        states = FileStates(self.root / ".hb" / "files.db")
        scratch = self.store.root / "work"
        scratch.mkdir(exist_ok=True)
        try:
            sources = Sources(self.root, self.store, states, self.spans)
            stage, derived = DiskStage(self.store), self.store.root / "derived"
            runner = Runner(
                self.store,
                self.store,
                stage,
                self.sandbox,
                sources,
                scratch,
                derived,
                self.cancel,
                vault=self.vault,
                spans=self.spans,
            )
            chosen = Options(jobs, **options)
            return Executor(graph, runner, self.fetch, self.events, chosen, machine=machine).run("1", again)
        finally:
            states.close()

    def fetch(self, operation: str, requests: Sequence[FetchRequest], work: Path) -> Sequence[Resolved | FetchError]:
        self.fetched += [request.label for request in requests]
        return [self._reply(request) for request in requests]

    def _reply(self, request: FetchRequest) -> Resolved | FetchError:
        data = self.content.get(request.label)
        if data is None:
            return FetchError(f"{request.label} is unreachable")
        return Resolved(Kind.BLOB, self.store.put(data))

    def text(self, result: BuildResult, name: str) -> str:
        return self.store.read(result.finished[name].outputs["out"].digest).decode()

    def lose(self, text: str) -> None:
        """The power failed: a blob is shorter than it was."""
        from hermetic.digest import Digest

        path = self.store.path(Digest.of(text.encode()))
        path.chmod(0o644)
        path.write_bytes(b"")


def outcomes(result: BuildResult) -> Mapping[str, str]:
    return {name: done.outcome.value for name, done in result.finished.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "ws").mkdir()
    return World(tmp_path / "ws", DiskStore(tmp_path / "store"))
