"""A build's record on its own: for another machine, in a file or in a remote cache.

A bundle holds the state, the key trace of every step, and the small blobs an explanation quotes (command
lines, scripts, folders of sources), so that whoever has it needs nothing else of that build. Equal builds
have equal bundles: neither times nor outcomes are in it.

In a cache a bundle is found by a name and a commit, as the one output of a result whose key is made from
these. That is written like any other result: signed, and read only from writers who are trusted.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from hermetic.audit.pairing import View
from hermetic.audit.past import Past
from hermetic.digest import Digest
from hermetic.errors import HbError, UserError
from hermetic.execution.history import Head
from hermetic.execution.records import EXECUTABLE, State, Trace
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.protocols import ActionCache, BlobStore
from hermetic.tree import Directory, Load, walk

MAGIC = b"hb build 1\n"
LONGEST = 64 << 10  # bytes of a blob that is taken along
MOST_BLOBS = 50_000
UNFOLDED = 256 << 20  # bytes a bundle may unfold to


@dataclass(frozen=True, slots=True)
class Bundle:
    state: State
    traces: Mapping[str, Trace]
    blobs: Mapping[Digest, bytes]

    @property
    def view(self) -> View:
        return View(self.state, self.traces.get)

    def load(self, behind: Load) -> Load:
        """Blobs of the bundle first, then those ``behind`` it."""
        return lambda digest: self.blobs[digest] if digest in self.blobs else behind(digest)

    def encode(self) -> bytes:
        data = {
            "state": self.state.to_object(),
            "traces": {key: self.traces[key] for key in sorted(self.traces)},
            "blobs": {str(digest): base64.b64encode(self.blobs[digest]).decode() for digest in sorted(self.blobs)},
        }
        return MAGIC + zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 6)

    @staticmethod
    def decode(data: bytes) -> Bundle:
        """Raises UserError for what is no bundle. Blobs that are not what their names say are left out."""
        if not data.startswith(MAGIC):
            raise UserError("it is no record of a build", hint="hb log ID --export FILE writes one")
        try:
            found = json.loads(zlib.decompressobj().decompress(data[len(MAGIC) :], UNFOLDED))
            blobs = {Digest.parse(name): base64.b64decode(text) for name, text in found["blobs"].items()}
            state = State.from_object(found["state"])
            traces = {key: Trace._make(trace) for key, trace in found["traces"].items()}
            _check(state, traces)
        except (zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError) as error:
            raise UserError(f"the record of a build is damaged: {type(error).__name__}") from None
        return Bundle(state, traces, {digest: blob for digest, blob in blobs.items() if Digest.of(blob) == digest})


def _check(state: State, traces: Mapping[str, Trace]) -> None:
    """What follows a record's numbers may rely on: they lead to steps, and in no circle. Raises ValueError."""
    count = len(state.steps)
    for step in state.steps:
        _texts(*step[:4])
        _numbers(step.needs, count)
    for shown in state.targets:
        _texts(*shown[:3])
        _numbers(shown.steps, count)
    _texts(*state.files.keys(), *state.files.values())
    for trace in traces.values():
        _texts(*trace[:2])
        for row in trace.rows:
            _texts(*row)
            if len(row) != 3 or not row[0]:
                raise ValueError(row)
    TopologicalSorter({number: step.needs for number, step in enumerate(state.steps)}).prepare()


def _texts(*values: object) -> None:
    if not all(isinstance(one, str) for one in values):
        raise ValueError(values)


def _numbers(values: Sequence[object], count: int) -> None:
    if not isinstance(values, list) or not all(type(one) is int and 0 <= one < count for one in values):
        raise ValueError(values)


def bundle_of(past: Past, head: Head, store: BlobStore) -> Bundle:
    """The bundle of a build in the history. Raises DamagedRecord."""
    view = past.view(head)
    past.prepare(past.heads, len(view.state.steps))
    traces = {step.key: trace for step in view.state.steps if step.key and (trace := view.trace(step.key))}
    blobs: dict[Digest, bytes] = {}
    for trace in traces.values():
        for digest in _quoted(trace, store.read):
            if digest not in blobs and digest.size <= LONGEST and len(blobs) < MOST_BLOBS:
                try:
                    blobs[digest] = store.read(digest)
                except HbError:
                    continue  # the explanation will say less
    return Bundle(view.state, traces, blobs)


def _quoted(trace: Trace, load: Load) -> Iterator[Digest]:
    """The blobs an explanation of this trace may quote."""
    if trace.command:
        yield Digest.parse(trace.command)
    for entry in trace.entries:
        if entry.source == "inline":
            yield Digest.parse(entry.digest.removesuffix(EXECUTABLE))
        elif entry.source.startswith("tree "):
            root = Digest.parse(entry.digest)
            try:
                folders = [Digest.of(node.encode()) for _, node in walk(root, load) if isinstance(node, Directory)]
            except HbError:
                continue
            yield from folders


# --- in a cache -----------------------------------------------------------------------------------


def place_of(name: str, commit: str) -> Digest:
    """The key under which the build ``name`` of a commit is published."""
    return Digest.of(f"hb build record\0{name}\0{commit}".encode())


def publish(bundle: Bundle, name: str, commit: str, store: BlobStore, cache: ActionCache) -> Digest:
    """Put a bundle where ``find`` will look. Returns its digest."""
    digest = store.put(bundle.encode())
    message = pb.ActionResult()
    file = message.output_files.add(path="record")
    file.digest.hash, file.digest.size_bytes = digest.hash, digest.size
    cache.put_result(place_of(name, commit), message)
    return digest


def published(message: pb.ActionResult, store: BlobStore) -> Bundle:
    """The bundle behind a result that ``publish`` wrote. Raises MissingBlob, UserError."""
    if len(message.output_files) != 1:
        raise UserError("it is no record of a build")
    digest = message.output_files[0].digest
    return Bundle.decode(store.read(Digest(digest.hash, digest.size_bytes)))
