"""From a symbolic action to its key: the digest of its REAPI ``Action`` message.

Guarantees: the key depends on everything the action can see and on nothing else. The order in which
environment variables, outputs or platform properties are declared does not matter; the order of
inputs matters only where trees overlap.

How hb's actions map to REAPI: the input root is ``/``; ``working_directory`` is the current folder
without its leading slash; ``output_paths`` are relative to it (``../`` leads out of it). What REAPI
has no word for is said as platform properties with names beginning ``hb:`` (the root's mode, the user
id, which inputs are writable, the names of secrets). An internal operation's command is
``hb:<operation>@<version>`` and its parameters; a fetch has no input root at all, its command is its pin.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hermetic import tree
from hermetic.action import Action, Input, Inside, Kind, Made, Mode, Ref, Root, SourceFile, SourceTree
from hermetic.digest import Digest
from hermetic.errors import ActionError
from hermetic.execution.records import EXECUTABLE
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore
from hermetic.tree import File, Node, Subdir

Resolve = Callable[[Ref], Resolved]
LONGEST_SUBJECT = 2000  # characters


@dataclass(frozen=True, slots=True)
class Component:
    """One input as a tree of its own, rooted at ``/``: what staging mounts."""

    input: Input
    resolved: Resolved
    root: Digest


@dataclass(frozen=True, slots=True)
class Keyed:
    """An action with all digests known. ``drafts``: directories made for the key that are in no store
    yet: an action that is a hit, or no command, never needs them."""

    key: Digest
    command: bytes
    action: bytes
    input_root: Digest
    components: tuple[Component, ...]
    trace: hb_pb2.KeyTrace
    drafts: Mapping[Digest, bytes]

    def keep(self, store: BlobStore) -> None:
        """Store what running the action needs."""
        for data in self.drafts.values():
            store.put(data)


def key_of(action: Action, resolve: Resolve, store: BlobStore, version: str = "") -> Keyed:
    """Resolve the inputs, merge them, make the messages. ``version``: of the internal operation or
    fetcher. Raises ActionError when two inputs claim one path."""
    drafts: dict[Digest, bytes] = {}

    def save(data: bytes) -> Digest:
        digest = Digest.of(data)
        drafts[digest] = data
        return digest

    def load(digest: Digest) -> bytes:
        return drafts[digest] if digest in drafts else store.read(digest)

    components = () if action.mode is Mode.FETCH else tuple(_component(one, resolve, save) for one in action.inputs)
    roots = [component.root for component in components]
    try:
        input_root = tree.merge(roots, load, save)
    except ActionError as error:
        raise error.at(action.location, action.label) from None
    command = command_message(action, version)
    command_bytes = command.SerializeToString(deterministic=True)
    message = pb.Action(platform=command.platform)
    command_digest = Digest.of(command_bytes)
    _set(message.command_digest, command_digest)
    _set(message.input_root_digest, input_root)
    message.timeout.seconds = action.timeout
    action_bytes = message.SerializeToString(deterministic=True)
    trace = key_trace(action, components, command, version)
    trace.command = str(command_digest)
    return Keyed(Digest.of(action_bytes), command_bytes, action_bytes, input_root, components, trace, drafts)


def command_message(action: Action, version: str) -> pb.Command:
    message = pb.Command()
    if action.mode is Mode.COMMAND:
        message.arguments.extend(action.argv)
        message.working_directory = action.cwd.strip("/")
    else:
        message.arguments.extend([f"hb:{action.argv[0]}@{version}", *action.argv[1:]])
    for name, value in sorted(action.env):
        message.environment_variables.add(name=name, value=value)
    message.output_paths.extend(sorted({_relative(output.path, action.cwd) for output in action.outputs}))
    for name, value in sorted({*action.platform, *_own_properties(action)}):
        message.platform.properties.add(name=name, value=value)
    return message


def _own_properties(action: Action) -> set[tuple[str, str]]:
    """Properties for what REAPI cannot say, left out where they have their usual value."""
    if action.mode is not Mode.COMMAND:
        return set()
    found = {("hb:uid", str(action.uid))} if action.uid != 1000 else set()
    if action.root is not Root.READONLY:
        found.add(("hb:root", action.root.value))
    writable = sorted(one.path for one in action.inputs if one.writable)
    if writable:
        found.add(("hb:writable", ":".join(writable)))
    kinds = sorted(output.path for output in action.outputs if output.kind is Kind.BLOB)
    if kinds:
        found.add(("hb:files", ":".join(kinds)))
    if action.secrets:  # names; the generation says when the values mean something else
        found |= {("hb:secrets", ":".join(sorted(action.secrets))), ("hb:secret-generation", action.secret_generation)}
    return found


def _relative(path: str, cwd: str) -> str:
    return posixpath.relpath(path, cwd)


def _component(one: Input, resolve: Resolve, save: tree.Save) -> Component:
    resolved = resolve(one.ref)
    if resolved.kind is Kind.TREE:
        node: Node = Subdir(resolved.digest)
    else:
        node = File(resolved.digest, resolved.executable or one.executable)
    return Component(one, resolved, tree.graft(one.path, node, save))


def key_trace(action: Action, components: Sequence[Component], command: pb.Command, version: str) -> hb_pb2.KeyTrace:
    """Name → digest of every leaf of the key, in a fixed order. Long values appear as digests."""
    trace = hb_pb2.KeyTrace(label=action.label, mnemonic=action.mnemonic)
    if action.mode is Mode.FETCH and len(action.unkeyed) <= LONGEST_SUBJECT:
        trace.subject = action.unkeyed
    entries = [("operation", version)] if version else []
    entries.append(("command", _brief("\0".join(command.arguments))))
    entries += [(f"environment {name}", _brief(value)) for name, value in sorted(action.env)]
    entries += [(f"platform {one.name}", one.value) for one in command.platform.properties]
    entries += [(f"setting {name}", value) for name, value in action.settings]
    entries += [(f"output {output.name}", output.path) for output in action.outputs]
    if action.mode is Mode.COMMAND:
        entries.append(("directory", action.cwd))
    entries.append(("timeout", str(action.timeout)))
    for name, value in entries:
        trace.entries.add(name=name, digest=value)
    for component in components:
        one = component.input
        executable = component.resolved.executable or one.executable
        trace.entries.add(
            name=f"input {one.name or one.path} at {one.path}",
            digest=f"{component.resolved.digest}{EXECUTABLE if executable else ''}",
            source=source_of(one.ref),
        )
    return trace


def source_of(ref: Ref) -> str:
    """What a trace says about where an input comes from; see ``hb.proto``. The hash at the end of an
    action's id is left out: it changes with every edit of the BUILD file."""
    if isinstance(ref, Inside):
        return f"{source_of(ref.tree)} {ref.path}"
    if isinstance(ref, Made):
        return f"made {ref.action.rpartition('-')[0] or ref.action} {ref.output}"
    if isinstance(ref, SourceFile):
        return f"file {ref.path}"
    return f"tree {ref.base}" if isinstance(ref, SourceTree) else "inline"


def _brief(text: str) -> str:
    return text if len(text) <= 60 and "\0" not in text else Digest.of(text.encode()).hash


def _set(message: pb.Digest, digest: Digest) -> None:
    message.hash, message.size_bytes = digest.hash, digest.size
