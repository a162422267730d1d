"""What the loader child remembers from one load to the next: packages and analysed targets.

Guarantees: what is recalled is what loading would give again. A package is recalled when no file it read
and no folder it looked into has changed, an analysed target when its package is recalled and everything it
depends on is what it was; a change of a rule, of the root package, or of the registered toolchains, forgets all
targets. Which paths changed the parent says: it has looked already.

The memory is a pickle, because rules hand each other values of their own classes. Only the child reads
it, in its box, and only the child can have written it: to the folder that also holds its bytecode.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hermetic.analysis.analyser import Analyser
from hermetic.analysis.configured import Configured
from hermetic.analysis.rule import Provider
from hermetic.analysis.visibility import allowed
from hermetic.errors import HbError, Location
from hermetic.files import keep_newest, write_whole
from hermetic.label import Label
from hermetic.loading.declare import ToolchainDeclaration
from hermetic.loading.loader import Loader, Package
from hermetic.settings import Configuration

KEPT = 8  # memories of one workspace
NAME, PACKAGES = "memory-", "packages-"  # what memories of builds and of queries are called
VERSION = f"3 {sys.implementation.cache_tag}"


@dataclass(frozen=True, slots=True)
class Memory:
    """``targets``: in an order in which dependencies come first, with the places of their dependencies."""

    version: str
    exec_platform: str
    packages: Mapping[str, Package]
    seen: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]  # package → what it read, looked into
    modules: Mapping[str, str]
    toolchains: Sequence[ToolchainDeclaration]
    targets: Sequence[Remembered]


class Remembered(NamedTuple):
    """An analysed target, see ``Configured``. ``deps``: places in ``Memory.targets``; ``visible``: to whom it
    was; ``lock``: what ``hb lock`` resolves there and where it is declared."""

    label: Label
    config: Configuration
    id: str
    rule: str
    providers: tuple[Provider, ...]
    node: bytes
    actions: Mapping[str, bytes]
    deps: tuple[int, ...]
    reads: frozenset[str]
    visible: tuple[str, ...]
    lock: tuple[str, Location] | None


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
        label, config = keys[id(one)]
        lock = analyser.locks.get(str(label))
        targets.append(
            Remembered(
                label,
                config,
                one.id,
                one.rule,
                tuple(one.providers),
                one.node,
                one.actions,
                deps,
                one.reads,
                allowed(loader, label),
                (lock, analyser.locations[str(label)]) if lock else None,
            )
        )
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
        write_whole(folder / f"{prefix}{name}", [data])
        keep_newest(folder.glob(f"{prefix}*"), KEPT)
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
    for old in memory.targets:
        deps = [done[place] for place in old.deps]
        if old.label.package in memory.packages and None not in deps:
            done.append(_recalled(old, tuple(dep for dep in deps if dep), analyser))
        else:
            done.append(_anew(old, analyser))


def _recalled(old: Remembered, deps: tuple[Configured, ...], analyser: Analyser) -> Configured:
    one = Configured(old.label, old.id, old.rule, old.providers, old.node, old.actions, deps, old.reads)
    analyser.done[old.label, old.config] = one
    if old.lock is not None:
        analyser.locks[str(old.label)], analyser.locations[str(old.label)] = old.lock
    return one


def _anew(old: Remembered, analyser: Analyser) -> Configured | None:
    """The target analysed again, if its users cannot tell it from what it was: else they are analysed, too."""
    try:
        new = analyser.analyse(old.label, old.config)
        visible = allowed(analyser.loader, old.label)
    except (HbError, KeyError):
        return None  # gone, or wrong: whoever asks for it is told
    same = (tuple(new.providers), new.id, new.reads, visible) == (old.providers, old.id, old.reads, old.visible)
    return new if same else None


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
