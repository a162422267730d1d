"""A small workspace that is loaded for real and built without a machine: a stand-in runs its commands."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hermetic.action import Kind
from hermetic.analysis.front import analyse
from hermetic.audit.past import Past
from hermetic.audit.why import Answer, why
from hermetic.cli.remember import files_read
from hermetic.errors import FetchError
from hermetic.execution.executor import Executor, Options
from hermetic.execution.frontend import Frontend, Loaded
from hermetic.execution.history import Head, History
from hermetic.execution.outcome import BuildResult, Silent
from hermetic.execution.recording import record_of
from hermetic.execution.runner import Runner
from hermetic.execution.sources import Sources
from hermetic.execution.symbolic import with_symbols
from hermetic.fetch.spec import FetchRequest
from hermetic.loading.loader import Loader
from hermetic.sandbox.spec import Cancel, Ending, SandboxResult, SandboxSpec
from hermetic.store.disk import DiskStore
from hermetic.store.filestate import FileStates
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage

ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests" / "cases" / "why"


class StandIn:
    """Writes a file that depends on everything the command sees; ``constant`` always writes the same."""

    name = "stand-in"

    def run(self, spec: SandboxSpec, work: Path, cancel: Cancel) -> SandboxResult:
        (work / "stdout").write_text(f"ran {spec.argv[0]}\n")
        (work / "stderr").touch()
        seen = repr((spec.argv, spec.env, spec.cwd, spec.uid))
        seen += "".join(_text(mount.source) for mount in spec.mounts) + "".join(map(str, spec.roots))
        outputs = {}
        for output in spec.outputs:
            outputs[output.name] = place = work / f"out-{output.name}"
            place.mkdir()
            text = "constant" if spec.argv[0] == "constant" else hashlib.sha256(seen.encode()).hexdigest()
            (place / spec.argv[0]).write_text(text)
        code = 1 if spec.argv[0] == "fail" else 0
        return SandboxResult(Ending.EXITED, code, work / "stdout", work / "stderr", outputs, 0.1, 0.1, 1)


def _text(place: Path) -> str:
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return "".join(f"{one.name}{os.access(one, os.X_OK)}{one.read_text() if one.is_file() else ''}" for one in files)


def fetch(store: DiskStore, operation: str, requests: Sequence[FetchRequest]) -> Sequence[Resolved | FetchError]:
    from hermetic import tree

    replies: list[Resolved | FetchError] = []
    for request in requests:
        content = store.put(json.dumps(request.params, sort_keys=True).encode())
        if operation in ("git", "oci"):
            replies.append(Resolved(Kind.TREE, tree.build({"content": tree.File(content)}, store.put)))
        else:
            replies.append(Resolved(Kind.BLOB, content))
    return replies


@dataclass
class World:
    """The corpus' workspace with a store of its own. ``clock`` gives builds their times."""

    root: Path
    store: DiskStore
    clock: float = 1000.0
    ids: list[str] = field(default_factory=list)
    rules_edited: bool = False

    @property
    def history(self) -> History:
        return History(self.store.root / "builds")

    def load(self, patterns: Sequence[str], settings: Mapping[str, str] | None = None) -> Loaded:
        """In this process, which is quicker; in the boxed child when rules were edited."""
        if self.rules_edited:
            return Frontend(self.root, "linux-amd64", settings or {}, None).graph(patterns)
        loader = Loader(self.root)
        answer = analyse(loader, patterns, settings or {}, "linux-amd64")
        return Loaded(answer.graph, answer.errors, answer.locks, loader.read_files)

    def run(self, loaded: Loaded, **options: Any) -> BuildResult:
        states = FileStates(self.store.root / "files.db")
        scratch = self.store.root / "work"
        scratch.mkdir(exist_ok=True)
        try:
            sources = Sources(self.root, self.store, states)
            runner = Runner(
                self.store, self.store, DiskStage(self.store), StandIn(), sources, scratch,
                self.store.root / "derived", threading.Event(),
            )  # fmt: skip
            executor = Executor(
                loaded.graph, runner, lambda op, requests, work: fetch(self.store, op, requests), Silent(),
                Options(2, **options),
            )  # fmt: skip
            self.ids.append(f"build-{len(self.ids) + 1}")
            return executor.run(self.ids[-1])
        finally:
            states.close()

    def remember(self, loaded: Loaded, result: BuildResult) -> Head:
        self.clock += 60
        head = Head(result.build_id, self.clock, str(self.root), ("build",), 1.0, result.counts())
        return self.history.add(head, record_of(loaded.graph, result.finished, files_read(loaded, self.root)))

    def build(self, *patterns: str, settings: Mapping[str, str] | None = None, **options: Any) -> Head:
        loaded = self.load(patterns or ("//...",), settings)
        return self.remember(loaded, self.run(loaded, **options))

    def why(self, head: Head, label: str) -> Answer:
        past = Past(self.history, self.store)
        return why(past, head, label, self.store, self.store.read, self.clock)

    def with_store(self, place: Path) -> World:
        """The same workspace with another store."""
        return World(self.root, DiskStore(place))

    def symbols(self, label: str, settings: Mapping[str, str] | None = None) -> list[str]:
        """The keys, or the symbols, of the steps that make a label's outputs. Nothing is run."""
        loaded = self.load([label], settings)
        finished = with_symbols(loaded.graph, self.run(loaded, dry_run=True).finished, self.sources(), self.store)
        state = record_of(loaded.graph, finished, {}).state
        return [state.steps[number].key for shown in state.labelled(label) for number in shown.steps]

    def sources(self) -> Sources:
        return Sources(self.root, self.store, FileStates(self.store.root / "symbols.db"))

    def edit(self, changes: Sequence[Mapping[str, Any]]) -> None:
        for change in changes:
            self.rules_edited |= change.get("path", "").startswith("rules/")
            if "remove" in change:
                (self.root / change["remove"]).unlink()
            elif "rename" in change:
                (self.root / change["rename"][0]).rename(self.root / change["rename"][1])
            elif "chmod" in change:
                (self.root / change["chmod"][0]).chmod(int(change["chmod"][1], 8))
            elif "touch" in change:
                os.utime(self.root / change["touch"], (1, 1))
            elif "link" in change:
                (self.root / change["link"][0]).unlink()
                (self.root / change["link"][0]).symlink_to(change["link"][1])
            else:
                place = self.root / change["path"]
                text = change.get("text", "")
                if "replace" in change:
                    old, new = change["replace"]
                    text = place.read_text()
                    assert old in text, f"{old!r} is not in {place}"
                    text = text.replace(old, new, 1)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)


def make_workspace(root: Path) -> None:
    for path, text in json.loads((CASES / "workspace.json").read_text(encoding="utf-8")).items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    subprocess.run(["cp", "-rn", str(ROOT / "rules"), str(root)], check=True)
    (root / "toolchains").mkdir()
    for name in ("__init__.py", "rules.py"):
        subprocess.run(["cp", str(ROOT / "toolchains" / name), str(root / "toolchains")], check=True)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Loaded, BuildResult]]:
    """The workspace built once: (folder with ws and store, what was loaded, the result)."""
    top = tmp_path_factory.mktemp("corpus")
    make_workspace(top / "ws")
    spec = importlib.util.spec_from_file_location("rules.steps", top / "ws/rules/steps.py")
    assert spec is not None and spec.loader is not None
    sys.modules["rules.steps"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    world = World(top / "ws", DiskStore(top / "store"))
    loaded = world.load(["//..."])
    result = world.run(loaded)
    assert not result.failures, result.failures[0].error
    yield top, loaded, result
    del sys.modules["rules.steps"]
    subprocess.run(["rm", "-rf", str(top)], check=False)


@pytest.fixture
def world(built: tuple[Path, Loaded, BuildResult], tmp_path: Path) -> World:
    """A copy of the built workspace and its store, with that build in its history."""
    top, loaded, result = built
    subprocess.run(["cp", "-a", str(top / "ws"), str(top / "store"), str(tmp_path)], check=True)
    found = World(tmp_path / "ws", DiskStore(tmp_path / "store"), ids=[result.build_id])
    found.remember(loaded, result)
    return found
