"""The loader child: reads one JSON request, evaluates BUILD code, writes one answer: JSON, and lines of a graph.

It is started in a box without network, environment or write access (hermetic.sandbox.loaderbox), and
what it writes is plain data. Whatever BUILD code prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

SLACK = 5  # seconds of CPU time between our own deadline, which names the line, and the kernel's
TRUSTED = ("hermetic", "rules", "toolchains")


def main() -> int:
    answer_to = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    from hermetic.errors import BuildFileError, HbError
    from hermetic.loading.limits import at_deadline, confine

    def stop(error: HbError) -> None:
        _write(answer_to, {"errors": [error.to_dict()]})
        os._exit(0)  # other threads may be anywhere

    confine(request["memory"], request["cpu_seconds"] + SLACK)
    at_deadline(request["cpu_seconds"] * 0.9, stop)  # before the parent gives up, so that the line is known
    try:
        answer = handle(request)
    except HbError as error:
        answer = {"errors": [error.to_dict()]}
    except MemoryError:
        hint = "look for a list that grows without end, or raise load_memory in [tool.hb]"
        tight = BuildFileError("loading the BUILD files needs more memory than allowed", hint=hint)
        answer = {"errors": [tight.to_dict()]}
    signal.setitimer(signal.ITIMER_PROF, 0)
    _write(answer_to, answer)
    return 0


def _write(descriptor: int, answer: dict[str, Any]) -> None:
    """One line of JSON; a graph follows as lines, those of its actions first."""
    lines = answer.pop("lines", None)
    if lines is not None:
        answer["graph"] = {"actions": len(lines.actions), "targets": len(lines.targets), "requested": lines.requested}
    with os.fdopen(descriptor, "wb") as out:
        out.write(json.dumps(answer, separators=(",", ":")).encode())
        for line in (*lines.actions, *lines.targets) if lines is not None else ():
            out.write(b"\n" + line)


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request: ``what`` is "graph", "targets" or "settings"."""
    from hermetic.spans import UNHEARD, Recorder

    spans = Recorder() if request.get("spans") else UNHEARD
    with spans.span("import"):
        from hermetic.loading.loader import Loader
    cache = Path(request["cache"]) if request.get("cache") else None
    loader = Loader(Path(request["workspace"]), cache, request.get("ignore", ()), spans)
    if request["what"] == "settings":
        answer = _settings(loader, request)
    elif request["what"] == "targets":
        answer = _targets(loader, cache, request)
    else:
        answer = _graph(loader, cache, request)
    return {**answer, "spans": spans.rows()} if isinstance(spans, Recorder) else answer


def _graph(loader: Any, cache: Path | None, request: dict[str, Any]) -> dict[str, Any]:
    from hermetic.analysis import recollection
    from hermetic.analysis.front import analyse

    past = request.get("since")
    memory = None
    with loader.spans.span("recall"):
        if cache and past:
            memory = recollection.recall(cache, past["name"], past["changed"], request["exec_platform"])
        if memory is not None:
            loader.recall(memory.packages, memory.seen)
    answer = analyse(
        loader,
        request["patterns"],
        request["settings"],
        request["exec_platform"],
        package=request.get("package"),
        keep_going=request.get("keep_going", False),
        tests_only=request.get("tests_only", False),
        origins=request.get("origins"),
        prepare=lambda analyser: recollection.restore(memory, analyser) if memory is not None else None,
    )
    modules = {**(memory.modules if memory is not None else {}), **_modules(loader.workspace)}
    name = ""
    if cache is not None and not answer.errors:
        with loader.spans.span("remember"):
            name = recollection.keep(cache, loader, answer.analyser, modules, answer.found)
    return {
        "lines": answer.lines,
        "errors": [error.to_dict() for error in answer.errors],
        "locks": dict(answer.locks),
        "read_files": {**loader.read_files, **modules},
        "read_folders": loader.read_folders,
        "memory": name,
    }


def _modules(workspace: Path) -> dict[str, str]:
    """The engine's and the rules' own files that were imported, with their SHA-256; those of the
    workspace relative to it."""
    import hashlib

    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in TRUSTED and (file := getattr(module, "__file__", None)):
            path = Path(file)
            shown = path.relative_to(workspace) if path.is_relative_to(workspace) else path
            found[str(shown)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _targets(loader: Any, cache: Path | None, request: dict[str, Any]) -> dict[str, Any]:
    from base64 import b64encode

    from hermetic.analysis import recollection
    from hermetic.analysis.targets import collect

    past, platform = request.get("since"), request["exec_platform"]
    memory = None
    if cache and past:
        memory = recollection.recall(cache, past["name"], past["changed"], platform, recollection.PACKAGES)
    if memory is not None:
        loader.recall(memory.packages, memory.seen)
    block = collect(loader, request["folders"], request["packages"])
    modules = {**(memory.modules if memory is not None else {}), **_modules(loader.workspace)}
    return {
        "targets": b64encode(block).decode(),
        "errors": [],
        "read_files": {**loader.read_files, **modules},
        "read_folders": loader.read_folders,
        "memory": recollection.keep_packages(cache, loader, modules, platform) if cache else "",
    }


def _settings(loader: Any, request: dict[str, Any]) -> dict[str, Any]:
    from hermetic.analysis.front import configuration

    settings = loader.root().settings
    config = configuration(settings, request["settings"], request.get("origins"))
    rows = [
        {"name": one.name, "value": value, "values": list(one.values), "doc": one.doc}
        for (_, value), one in zip(config.texts(), (settings[name] for name, _ in config.items), strict=True)
    ]
    return {"settings": rows, "errors": []}


if __name__ == "__main__":
    sys.exit(main())
