"""Keys of actions whose inputs nobody has made yet: symbols that are equal exactly when nothing differs.

An action whose inputs are all known has its key. Another one gets a symbol: the hash of its command, its
time limit and, for each input, the content where it is known and the symbol of its maker where it is not.
Two graphs whose actions have equal symbols build the same. Different symbols say that something behind
them differs; whether the outputs will differ too nobody knows before they are made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from graphlib import TopologicalSorter

from hermetic.action import Action, ActionGraph, Input, Mode
from hermetic.analysis.codec import made_in
from hermetic.errors import HbError
from hermetic.execution.keys import command_message, key_trace, source_of
from hermetic.execution.operations import operation
from hermetic.execution.outcome import Finished, made_by
from hermetic.execution.records import EXECUTABLE, SYMBOL
from hermetic.execution.sources import Sources
from hermetic.proto import hb_pb2
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore


def with_symbols(
    graph: ActionGraph, finished: Mapping[str, Finished], sources: Sources, store: BlobStore
) -> dict[str, Finished]:
    """What a dry run found, with a symbol and a trace for every action it could not key. Actions whose
    sources cannot be read stay without."""
    made = made_by(finished.values())
    needs = {
        name: [ref.action for one in graph.actions[name].inputs if (ref := made_in(one.ref)) and ref.action in finished]
        for name in finished
    }
    found: dict[str, Finished] = {}
    for name in TopologicalSorter(needs).static_order():
        done = finished[name]
        if not done.key and done.error is None and all(found[one].key for one in needs[name]):
            done = _symbolic(done, sources, store, made, found)
        found[name] = done
    return found


def _symbolic(
    done: Finished,
    sources: Sources,
    store: BlobStore,
    made: Mapping[tuple[str, str], Resolved],
    found: Mapping[str, Finished],
) -> Finished:
    action = done.action
    command = command_message(action, _version(action))
    trace = key_trace(action, (), command, _version(action))
    data = command.SerializeToString(deterministic=True)
    try:
        trace.command = str(store.put(data))
        contents = [_content(one, sources, made, found) for one in action.inputs]
    except HbError as error:
        return replace(done, error=error.at(action.location, action.label))
    for one, content in zip(action.inputs, contents, strict=True):
        trace.entries.add(name=f"input {one.name or one.path} at {one.path}", digest=content, source=source_of(one.ref))
    return replace(done, key=_symbol(data, action.timeout, trace), trace=trace)


def _symbol(command: bytes, timeout: int, trace: hb_pb2.KeyTrace) -> str:
    """Inputs at different paths may come in any order, as in a key; those at one path may not."""
    places = [(one.name.rpartition(" at ")[2], one.digest) for one in trace.entries if one.source]
    text = repr((command, timeout, sorted(places, key=lambda one: one[0])))
    return SYMBOL + hashlib.sha256(text.encode()).hexdigest()


def _content(
    one: Input, sources: Sources, made: Mapping[tuple[str, str], Resolved], found: Mapping[str, Finished]
) -> str:
    """An input's digest as traces have it, or what stands for it."""
    needed = made_in(one.ref)
    if needed is not None and (needed.action, needed.output) not in made:
        maker = found[needed.action].key if needed.action in found else needed.action
        inside = getattr(one.ref, "path", "")
        return f"{SYMBOL}{maker.removeprefix(SYMBOL)} {needed.output} {inside}".rstrip()
    resolved = sources.resolve(one.ref, made)
    return f"{resolved.digest}{EXECUTABLE if resolved.executable or one.executable else ''}"


def _version(action: Action) -> str:
    """As in the action's key: of the internal operation or the fetcher."""
    if action.mode is Mode.INTERNAL:
        return operation(action.argv[0]).full_version(action.argv[1])
    return "1" if action.mode is Mode.FETCH else ""
