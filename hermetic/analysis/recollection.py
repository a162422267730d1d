"""What the loader child remembers from one load to the next: packages and analysed targets.

Guarantees: what is recalled is what loading would give again. A package is recalled when no file it read
and no folder it looked into has changed, an analysed target when its package and everything it depends
on are recalled; a change of a rule, of the root package, or of the registered toolchains, forgets all
targets. Which paths changed the parent says: it has looked already.

The memory is a pickle, because rules hand each other values of their own classes. Only the child reads
it, in its box, and only the child can have written it: to the folder that also holds its bytecode.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermetic.action import Action, TargetNode
from hermetic.analysis.analyser import Analyser
from hermetic.analysis.configured import Configured
from hermetic.analysis.rule import Provider
from hermetic.label import Label
from hermetic.loading.declare import ToolchainDeclaration
from hermetic.loading.loader import Loader, Package
from hermetic.settings import Configuration

KEPT = 8  # memories of one workspace
NAME, PACKAGES = "memory-", "packages-"  # what memories of builds and of queries are called
VERSION = f"1 {sys.implementation.cache_tag}"


@dataclass(frozen=True, slots=True)
class Memory:
    """``targets``: in an order in which dependencies come first, with the places of their dependencies."""

    version: str
    exec_platform: str
    packages: Mapping[str, Package]
    seen: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]  # package → what it read, looked into
    modules: Mapping[str, str]
    toolchains: Sequence[ToolchainDeclaration]
    targets: Sequence[tuple[Label, Configuration, Sequence[Provider], TargetNode, Mapping[str, Action], Any, Any]]


def keep(
    folder: Path, loader: Loader, analyser: Analyser, modules: Mapping[str, str], tops: Iterable[Configured]
) -> str:
    """Remember a load without errors. Returns the memory's name, "" when it cannot be kept."""
    keys = {id(done): key for key, done in analyser.done.items()}
    places: dict[int, int] = {}
    targets = []
    for one in _in_order(tops):
        places[id(one)] = len(places)
        deps = tuple(places[id(dep)] for dep in one.deps)
        targets.append((*keys[id(one)], tuple(one.providers), one.node, dict(one.actions), deps, one.reads))
    toolchains = analyser.toolchains.registered
    return _keep(folder, _memory(loader, modules, analyser.exec_platform.name, toolchains, targets), NAME)


def keep_packages(folder: Path, loader: Loader, modules: Mapping[str, str], exec_platform: str) -> str:
    """Remember packages only. Returns the memory's name, "" when it cannot be kept."""
    return _keep(folder, _memory(loader, modules, exec_platform, (), ()), PACKAGES)


def _memory(
    loader: Loader,
    modules: Mapping[str, str],
    exec_platform: str,
    toolchains: Sequence[ToolchainDeclaration],
    targets: Sequence[Any],
) -> Memory:
    seen = {path: loader.seen_by(path) for path in loader.loaded}
    return Memory(VERSION, exec_platform, loader.loaded, seen, dict(modules), toolchains, targets)


def _keep(folder: Path, memory: Memory, prefix: str) -> str:
    try:
        data = pickle.dumps(memory, protocol=5)
        name = hashlib.sha256(data).hexdigest()[:32]
        _write(folder, prefix, name, data)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError, OSError):
        return ""  # a rule's value that has no lasting form, or a full disk
    return name


def recall(folder: Path, name: str, changed: Iterable[str], exec_platform: str, prefix: str = NAME) -> Memory | None:
    """What is still true of a memory when these files and folders changed; None when nothing is."""
    try:
        data = (folder / f"{prefix}{name}").read_bytes()
        if hashlib.sha256(data).hexdigest()[:32] != name:
            return None
        memory: Memory = pickle.loads(data)
    except Exception:  # whatever a damaged or foreign pickle raises
        return None
    paths = frozenset(changed)
    if (memory.version, memory.exec_platform) != (VERSION, exec_platform) or paths & memory.modules.keys():
        return None
    known: set[str] = set()
    for files, folders in memory.seen.values():
        known.update(files, folders)
    if any(path not in known and not _is_folder(path, memory) for path in paths):
        return None
    good = {
        path: package
        for path, package in memory.packages.items()
        if paths.isdisjoint(memory.seen[path][0]) and paths.isdisjoint(memory.seen[path][1])
    }
    return Memory(memory.version, exec_platform, good, memory.seen, memory.modules, memory.toolchains, memory.targets)


def restore(memory: Memory, analyser: Analyser) -> None:
    """Give the recalled targets to an analyser whose loader has the recalled packages."""
    if "" not in memory.packages or analyser.toolchains.registered != memory.toolchains:
        return
    done: list[Configured | None] = []
    for label, config, providers, node, actions, deps, reads in memory.targets:
        found = [done[place] for place in deps]
        if label.package not in memory.packages or None in found:
            done.append(None)
            continue
        one = Configured(label, providers, node, actions, tuple(dep for dep in found if dep), reads)
        analyser.done[label, config] = one
        if node.lock:
            analyser.locks[node.label] = node.lock
            analyser.locations[node.label] = node.location
        done.append(one)


def _in_order(tops: Iterable[Configured]) -> Iterable[Configured]:
    """Everything behind ``tops``, dependencies first, without recursion."""
    entered: set[int] = set()
    left: set[int] = set()
    waiting = list(tops)
    while waiting:
        one = waiting[-1]
        if id(one) not in entered:
            entered.add(id(one))
            waiting += [dep for dep in one.deps if id(dep) not in entered]
            continue
        waiting.pop()
        if id(one) not in left:
            left.add(id(one))
            yield one


def _is_folder(path: str, memory: Memory) -> bool:
    """A folder that only the search for packages looked into, which is done anew."""
    return path == "" or any(name == path or name.startswith(f"{path}/") for name in memory.packages)


def _write(folder: Path, prefix: str, name: str, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
    os.replace(temporary, folder / f"{prefix}{name}")
    found = sorted(folder.glob(f"{prefix}*"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in found[KEPT:]:
        with suppress(OSError):
            old.unlink()
