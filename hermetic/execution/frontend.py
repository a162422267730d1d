"""The parent's side of loading: one boxed child, one request, one answer, nothing trusted."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hermetic
from hermetic.action import ActionGraph
from hermetic.analysis.lines import GraphLines, Known, graph_in
from hermetic.analysis.targetfile import Block, check, decode
from hermetic.errors import BuildFileError, HbError, InternalError, from_dict
from hermetic.sandbox.loaderbox import run_boxed_python
from hermetic.spans import UNHEARD, Spans

PATIENCE = 4  # the deadline is CPU time; this many times as long may pass on a busy machine


@dataclass(frozen=True)
class Frontend:
    """How BUILD files of one workspace are loaded. ``origins``: where each of the settings was said, for errors.
    ``cache``: a folder the child may write to."""

    workspace: Path
    exec_platform: str
    settings: Mapping[str, str]
    cache: Path | None
    ignore: Sequence[str] = ()
    deadline: float = 120.0
    memory: int = 4 << 30
    spans: Spans = UNHEARD
    origins: Mapping[str, str] = field(default_factory=dict)

    def graph(
        self,
        patterns: Sequence[str],
        *,
        package: str | None = None,
        keep_going: bool = False,
        tests_only: bool = False,
        since: Since | None = None,
    ) -> Loaded:
        """Analyse the patterns. Raises the child's error, or returns it with ``keep_going``."""
        answer = self._ask(
            {
                "what": "graph",
                "patterns": list(patterns),
                "package": package,
                "keep_going": keep_going,
                "tests_only": tests_only,
                "since": _since(since),
            }
        )
        errors = [from_dict(one) for one in answer["errors"]]
        if errors and not keep_going:
            raise errors[0]
        if "graph" not in answer:
            raise errors[0]
        with self.spans.span("decode"):
            graph = graph_in(lines_in(answer), since.known if since else None)
        return Loaded(
            graph,
            tuple(errors),
            dict(answer["locks"]),
            _texts_by_path(answer.get("read_files")),
            _texts_by_path(answer.get("read_folders")),
            str(answer.get("memory", "")),
        )

    def targets(self, folders: Sequence[str], packages: Sequence[str], since: Since | None = None) -> LoadedTargets:
        """The unconfigured graph of all packages below ``folders``, of ``packages``, and of what they name."""
        from base64 import b64decode

        request = {"what": "targets", "folders": list(folders), "packages": list(packages)}
        answer = self._ask({**request, "since": _since(since)})
        for one in answer["errors"]:
            raise from_dict(one)
        try:
            block = decode(b64decode(answer["targets"], validate=True))
            check(block)
        except (KeyError, TypeError, ValueError) as error:
            raise InternalError(f"the loader's answer is not a target graph: {error}"[:500]) from None
        return LoadedTargets(
            block,
            _texts_by_path(answer.get("read_files")),
            _texts_by_path(answer.get("read_folders")),
            str(answer.get("memory", "")),
        )

    def rows(self) -> list[dict[str, Any]]:
        """The workspace's settings as they are in force: name, value, values, doc."""
        answer = self._ask({"what": "settings"})
        for one in answer["errors"]:
            raise from_dict(one)
        return list(answer["settings"])

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        package = Path(hermetic.__file__).resolve().parent.parent
        if self.cache is not None:
            self.cache.mkdir(parents=True, exist_ok=True)
        full = {
            **request,
            "workspace": str(self.workspace),
            "settings": dict(self.settings),
            "origins": dict(self.origins),
            "exec_platform": self.exec_platform,
            "ignore": list(self.ignore),
            "cache": str(self.cache) if self.cache else None,
            "memory": self.memory,
            "cpu_seconds": int(self.deadline),
            "spans": self.spans.heard,
        }
        since = time.monotonic()
        answer = run_boxed_python(
            "hermetic.analysis.child",
            json.dumps(full).encode(),
            read=[self.workspace, package],
            write=[self.cache] if self.cache else [],
            python_path=list(dict.fromkeys([self.workspace, package])),
            deadline=self.deadline * PATIENCE,
        )
        if answer.returncode != 0 or not answer.stdout:
            raise _explained(answer.returncode, answer.stderr.decode("utf-8", "replace"))
        found = answer_in(answer.stdout)
        self.spans.adopt("loader", found.get("spans"), since, time.monotonic())
        return found


@dataclass(frozen=True)
class Loaded:
    """``read_files``: path → SHA-256 of every file that loading read, rules' modules too ("" for what is
    not there). ``read_folders``: path → listing digest of every folder it looked into. ``memory``: the name
    of what the loader remembers of this load."""

    graph: ActionGraph
    errors: tuple[HbError, ...]
    locks: Mapping[str, str]
    read_files: Mapping[str, str] = field(default_factory=dict)
    read_folders: Mapping[str, str] = field(default_factory=dict)
    memory: str = ""


@dataclass(frozen=True)
class Since:
    """An earlier load, by what the loader remembers of it, the files and folders changed since, and the
    lines it gave."""

    memory: str
    changed: Collection[str]
    known: Known | None = None


@dataclass(frozen=True)
class LoadedTargets:
    """``read_files``, ``read_folders`` and ``memory``: as those of ``Loaded``."""

    block: Block
    read_files: Mapping[str, str]
    read_folders: Mapping[str, str]
    memory: str = ""


def _since(since: Since | None) -> dict[str, Any] | None:
    return {"name": since.memory, "changed": sorted(since.changed)} if since else None


def answer_in(data: bytes) -> dict[str, Any]:
    """What the child wrote: JSON, with the lines that follow it as ``lines``. Raises InternalError."""
    head, *lines = data.split(b"\n")
    try:
        found = json.loads(head)
    except (ValueError, RecursionError):
        raise InternalError("the loader's answer is not JSON") from None
    if not isinstance(found, dict) or "errors" not in found:
        raise InternalError("the loader's answer has no list of errors")
    return {**found, "lines": lines}


def lines_in(answer: Mapping[str, Any]) -> GraphLines:
    """The graph of an answer. Raises InternalError."""
    try:
        graph, lines = answer["graph"], answer["lines"]
        actions, targets, requested = graph["actions"], graph["targets"], graph["requested"]
        if actions + targets == len(lines) and all(isinstance(one, str) for one in requested):
            return GraphLines(lines[:actions], lines[actions:], tuple(requested))
    except (KeyError, TypeError):
        pass
    raise InternalError("the loader's answer is not an action graph")


def _texts_by_path(data: Any) -> dict[str, str]:
    if not isinstance(data, dict) or not all(isinstance(one, str) for one in data.values()):
        raise InternalError("the loader's answer does not say what it read")
    return data


def _explained(code: int, log: str) -> HbError:
    """Why the child gave no answer."""
    if log.startswith("bwrap: "):
        from hermetic.errors import SandboxUnavailable
        from hermetic.sandbox.probe import advice

        return SandboxUnavailable(f"the loader's sandbox could not be made: {log.strip()}", hint=advice(log))
    if code in (-24, 128 + 24, -9, 128 + 9):
        return BuildFileError(
            "loading the BUILD files used up its CPU time or memory",
            hint="look for a loop that never ends, or raise load_deadline and load_memory in [tool.hb]",
        )
    return InternalError(f"the loader ended with exit {code}:\n{log[-3000:]}")
