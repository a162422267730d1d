"""Actions: what analysis hands to execution. Plain frozen values, with a JSON form.

An ``Action`` here is still symbolic: its inputs name sources and other actions' outputs, not
digests. Execution resolves the names and makes the REAPI ``Command`` and ``Action`` whose digest
is the action key (``hermetic.execution.keys``). The whole graph has a JSON form because it is made
in a child process that runs BUILD.py code and is read by a parent that never does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from hermetic.errors import Location


class Kind(StrEnum):
    """What an artifact is."""

    TREE = "tree"  # a directory, by the digest of its root Directory message
    BLOB = "blob"  # a file, by the digest of its bytes


COMPILE_CACHE = "/hb/compile-cache"  # where an action that has launchers finds the compile cache's tool


class Mode(StrEnum):
    """How an action runs."""

    COMMAND = "command"  # argv in a sandbox
    FETCH = "fetch"  # a fetcher of hermetic.fetch: may use the network, output digest is pinned
    INTERNAL = "internal"  # an operation of hermetic.execution.operations on trees and blobs


class Root(StrEnum):
    """What a command may do to its root filesystem."""

    READONLY = "readonly"  # nothing but writable inputs, outputs and /tmp
    OVERLAY = "overlay"  # anything; the changes are the output at "/"


@dataclass(frozen=True, slots=True)
class Output:
    """A declared output: ``name`` is what refs use, ``path`` is absolute in the action's root.

    ``path`` "/" (with Root.OVERLAY) is the tree of changes, with whiteouts.
    """

    name: str
    path: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Made:
    """The output called ``output`` of the action with id ``action``."""

    action: str
    output: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the workspace; ``path`` is relative to the workspace."""

    path: str


@dataclass(frozen=True, slots=True)
class SourceTree:
    """Files of the workspace as a tree: ``files`` are relative to ``base``, which is relative to
    the workspace. Sorted, so that the order of declaration never matters."""

    base: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inline:
    """A file whose content the rule wrote."""

    text: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Inside:
    """A file or directory inside a tree."""

    tree: Made
    path: str
    kind: Kind


Ref: TypeAlias = Made | SourceFile | SourceTree | Inline | Inside


@dataclass(frozen=True, slots=True)
class Input:
    """``ref`` appears at the absolute ``path``. Trees may share paths: they are merged, in order.

    ``writable``: the action gets its own writable copy (an overlay, thrown away afterwards).
    ``name``: what the key trace calls it, usually the label it came from.
    """

    path: str
    ref: Ref
    writable: bool = False
    name: str = ""
    executable: bool = False  # a blob input that must be executable


@dataclass(frozen=True, slots=True)
class Action:
    """One step.

    ``argv`` of an INTERNAL or FETCH action is ``(operation, canonical JSON of parameters)``.
    ``unkeyed`` never enters the key: JSON of what may differ without changing the result
    (mirrors of a pinned archive). ``timeout`` is seconds and is in the key, as in REAPI.
    """

    id: str
    label: str
    mnemonic: str
    location: Location
    mode: Mode
    argv: tuple[str, ...]
    outputs: tuple[Output, ...]
    inputs: tuple[Input, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/build"
    root: Root = Root.READONLY
    uid: int = 1000
    platform: tuple[tuple[str, str], ...] = ()
    timeout: int = 3600
    unkeyed: str = "{}"
    test: bool = False
    settings: tuple[tuple[str, str], ...] = ()  # the settings its configuration kept, for traces
    resources: tuple[tuple[str, str], ...] = ()  # what it claims of the machine; neither in its key nor its id
    secrets: tuple[str, ...] = ()  # names, sorted; in the key of a command, not in that of a fetch
    secret_generation: str = ""  # of a command with secrets: says when what they unlock is another thing
    launchers: tuple[tuple[str, str], ...] = ()  # variables it gets with a compile cache; neither in key nor id
    compile_cache: bool = False  # its target asks for a compile cache whatever the command line says; likewise


@dataclass(frozen=True, slots=True)
class TargetNode:
    """A configured target as execution and reports see it.

    ``id`` is ``label`` or ``label [name=value,…]`` with the settings the closure reads.
    ``output`` is the default artifact shown for it; ``layout`` tells how hb-out shows it
    (``tree``, ``blob``, ``image`` or ``index``).
    """

    id: str
    label: str
    rule: str
    location: Location
    settings: tuple[tuple[str, str], ...]
    deps: tuple[str, ...]
    actions: tuple[str, ...]
    outputs: tuple[tuple[str, Ref], ...]
    layout: str = "tree"
    tags: tuple[str, ...] = ()
    test: bool = False
    lock: str = ""  # JSON of what `hb lock` resolves for this target: {"kind", "path", "spec"}


@dataclass(frozen=True, slots=True)
class ActionGraph:
    """Everything a build needs. ``requested``: ids of the targets that were asked for, in order."""

    actions: Mapping[str, Action] = field(default_factory=dict)
    targets: Mapping[str, TargetNode] = field(default_factory=dict)
    requested: tuple[str, ...] = ()
