"""Workspaces made from texts, queried in this process with the demo rules."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hermetic.analysis.child import handle
from hermetic.analysis.front import analyse
from hermetic.execution.frontend import Frontend, LoadedTargets, Since
from hermetic.loading.loader import Loader
from hermetic.query.actions import ActionNodes, Actions
from hermetic.query.answer import Answer, Question, analysable, ask, lines, unconfigured
from hermetic.query.configured import ConfiguredTargets
from hermetic.query.environment import Environment
from hermetic.query.loading import Scope, Source

DEMO = Path(__file__).parents[2] / "projects" / "demo.py"


@pytest.fixture(scope="session", autouse=True)
def demo() -> None:
    if "rules.demo" not in sys.modules:
        spec = importlib.util.spec_from_file_location("rules.demo", DEMO)
        assert spec is not None and spec.loader is not None
        sys.modules["rules.demo"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


class Unboxed(Frontend):
    """A frontend whose child is this process: everything but the box."""

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        full = {"workspace": str(self.workspace), "exec_platform": self.exec_platform, "cache": str(self.cache)}
        answer: dict[str, Any] = json.loads(json.dumps(handle({**full, **request})))
        return answer


@dataclass
class Here:
    """``loads``: how often BUILD files were loaded."""

    root: Path
    cache: Path
    loads: int = 0

    def targets(self, folders: Sequence[str], packages: Sequence[str], since: Since | None = None) -> LoadedTargets:
        self.loads += 1
        self.cache.mkdir(exist_ok=True)
        return Unboxed(self.root, "linux-amd64", {}, self.cache).targets(folders, packages, since)


@dataclass
class Asked:
    """A workspace to ask. ``state``: where graphs are kept."""

    root: Path
    state: Path
    frontend: Here = field(init=False)

    def __post_init__(self) -> None:
        self.frontend = Here(self.root, self.state.with_name(f"{self.state.name}-cache"))

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)

    @property
    def source(self) -> Source:
        return Source(self.root, self.state, (), lambda: self.frontend)  # type: ignore[arg-type,return-value]

    def ask(self, question: Question, *, tools: bool = True) -> Answer:
        return ask(question, unconfigured(question, self.source, tools))

    def labels(self, query: str) -> list[str]:
        question = Question.of(query)
        return list(lines(self.ask(question), "label", "auto", question))

    def configured(
        self,
        question: Question,
        *,
        tools: bool = True,
        implicit: bool = True,
        actions: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> Answer:
        files, patterns = analysable(question, unconfigured(question, self.source))
        graph = analyse(Loader(self.root), patterns, settings or {}, "linux-amd64").graph
        packages = {one.label[2:].partition(":")[0] for one in graph.targets.values()}
        scope = question.scope
        declared = self.source.targets(Scope(scope.folders, (*scope.packages, *packages)))
        targets = ConfiguredTargets(graph, declared, tools, implicit, files)
        table = Actions(targets)
        answer = ask(question, Environment(targets, question.package, actions=table, as_actions=actions))
        return replace(answer, catalogue=ActionNodes(table)) if actions else answer


@pytest.fixture(scope="session")
def new_asked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mapping[str, str]], Asked]:
    def make(files: Mapping[str, str]) -> Asked:
        asked = Asked(tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("state"))
        asked.write(files)
        return asked

    return make
