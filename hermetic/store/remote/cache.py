"""One remote cache during one command: results looked up and offered, blobs promised and brought.

Guarantees: a result is used only when a trusted key signed it for this action and zone; a remote that
fails or lies costs time, never correctness; everything that was odd is said once, at the end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hermetic.digest import Digest
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.disk import DiskStore
from hermetic.store.remote import entry
from hermetic.store.remote.address import Mode
from hermetic.store.remote.downloads import Downloads
from hermetic.store.remote.guard import Guard
from hermetic.store.remote.known import Known
from hermetic.store.remote.leases import Leases
from hermetic.store.remote.promises import Promises
from hermetic.store.remote.protocol import Remote, RemoteError
from hermetic.store.remote.uploads import Conflict, Uploads
from hermetic.store.trust import Policy, Signer, Untrusted


class Download(StrEnum):
    """Which outputs of remote hits are brought here at once."""

    ALL = "all"  # every one
    TOPLEVEL = "toplevel"  # those of requested targets, and what local actions need
    MINIMAL = "minimal"  # what local actions need


@dataclass(frozen=True)
class Terms:
    """How a remote is used. ``zones``: the one written to, then others that are read."""

    mode: Mode
    policy: Policy
    signer: Signer | None = None
    zones: tuple[str, ...] = ("main",)
    download: Download = Download.TOPLEVEL
    lease: bool = False  # say what was used although nothing is written; who writes always does
    share: bool = False  # results that are here already are written too


class RemoteCache:
    def __init__(self, remote: Remote, identity: str, disk: DiskStore, terms: Terms) -> None:
        self.terms = terms
        self.remote = remote
        self._identity = identity
        self._disk = disk
        self._guard = Guard(remote)
        self._known = Known(disk.root / "remotes.db", identity)
        self._promises = Promises(disk)
        self.downloads = Downloads(self._guard, disk, self._promises, self._known, terms.zones)
        self.leases = Leases(self._guard, self._known, terms.zones[0])
        self.uploads = self._uploads()
        self._lock = threading.Lock()
        self._asked: dict[Digest, pb.ActionResult | None] = {}
        self._relied: dict[Digest, str] = {}  # keys whose blobs the remote promised → zone
        self._shared: dict[Digest, bool] = {}  # key → whether it was made here
        self._refused: dict[str, int] = {}
        self.hits = self.misses = 0

    def _uploads(self) -> Uploads | None:
        if not self.terms.mode.writes or self.terms.signer is None:
            return None
        return Uploads(
            self._guard,
            self._disk,
            self._promises,
            self.downloads.read,
            self._known,
            self.terms.signer,
            self.terms.policy,
            self.terms.zones,
            self.leases,
        )

    # --- results ----------------------------------------------------------------------------------

    def get(self, key: Digest) -> pb.ActionResult | None:
        """The trusted result of an action, its outputs promised. Asked once per key."""
        if not self.terms.mode.reads:
            return None
        with self._lock:
            if key in self._asked:
                return self._asked[key]
        found = self._look(key)
        with self._lock:
            self._asked[key] = found
            if found is not None:
                self._relied[key] = whereabouts(found).zone  # type: ignore[union-attr]
            self.hits += found is not None
            self.misses += found is None
        return found

    def _look(self, key: Digest) -> pb.ActionResult | None:
        for zone in self.terms.zones:
            try:
                data = self._guard.ask(lambda remote, zone=zone: remote.get_result(key, zone))  # type: ignore[misc]
                if data is not None:
                    return self._accept(entry.opened(data, key, zone, self.terms.policy))
            except Untrusted as error:
                with self._lock:
                    self._refused[error.message] = self._refused.get(error.message, 0) + 1
            except RemoteError:
                return None
        return None

    def _accept(self, found: entry.Opened) -> pb.ActionResult:
        for data in found.inline:
            self._disk.put(data)
        found.where.remote = self._identity
        found.result.execution_metadata.auxiliary_metadata.add().Pack(found.where)
        self._promises.add(found.result, found.where)
        if self.terms.download is Download.ALL:
            self.want(found.result)
        return found.result

    def remember(self, key: Digest, result: pb.ActionResult) -> bool:
        """Promise again what a result in the local store says of its remote outputs. False: it came from
        a writer who is not trusted now, and must not be used."""
        where = whereabouts(result)
        if where is None:
            return True
        if where.signer not in self.terms.policy.keys:
            return False
        if where.remote == self._identity and self.terms.mode.reads:
            self._promises.add(result, where)
            with self._lock:
                self._relied[key] = where.zone
        return True

    def offer(self, key: Digest, result: pb.ActionResult) -> None:
        """Have a result written, in the background."""
        if self.uploads is not None:
            with self._lock:
                heal = key in self._relied  # it is made again, so something of it was lost
            self.uploads.offer(key, result, heal=heal)

    def share(self, key: Digest, result: pb.ActionResult) -> None:
        """Have a result written that was made here before. One that came from a remote has its writer's
        signature, and hb does not put its own in the place of it."""
        if self.uploads is None or not self.terms.share:
            return
        with self._lock:
            if key in self._shared:
                return
            self._shared[key] = whereabouts(result) is None
        if self._shared[key]:
            self.uploads.offer(key, result, ask=True)

    @property
    def foreign(self) -> int:
        """Results that were to be shared, and are somebody else's."""
        return list(self._shared.values()).count(False)

    # --- blobs ------------------------------------------------------------------------------------

    def promised(self, digest: Digest) -> bool:
        return self._promises.holds(digest)

    def fetch(self, digest: Digest) -> None:
        """Bring a promised blob. Raises MissingBlob."""
        self.downloads.fetch(digest)

    def want(self, result: pb.ActionResult) -> None:
        """Bring everything a result names."""
        roots = [_digest(one.root_directory_digest) for one in result.output_directories]
        logs = [one for one in (result.stdout_digest, result.stderr_digest) if one.hash]
        self.downloads.want([_digest(file.digest) for file in result.output_files] + [_digest(one) for one in logs])
        self.want_trees(roots)

    def want_trees(self, roots: Iterable[Digest]) -> None:
        self.downloads.want_trees(roots)

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """After an upload that was left, the lease stays open until it runs out: it may still write."""
        over = self.uploads.close() if self.uploads is not None else self.terms.lease
        if over:
            self.leases.end(self._relied)
        self._known.close()

    def summary(self) -> list[str]:
        """What happened, for people: one line, and one per thing that was odd."""
        name, traffic = self.remote.name, self.remote.traffic
        lines = []
        if traffic.requests:
            sent = self.uploads.sent if self.uploads is not None else None
            wrote = f", {sent.results} written" if sent is not None else ""
            lines.append(
                f"remote cache {name}: {self.hits} hits, {self.misses} misses{wrote} · "
                f"{traffic.requests} requests, {_size(traffic.received)} in, {_size(traffic.sent)} out"
            )
        lines += [f"remote cache: {text}" for text in self._guard.problems]
        lines += [f"remote cache: {count} results ignored: {text}" for text, count in self._refused.items()]
        losses = self.downloads.losses
        if losses.corrupt:
            lines.append(f"remote cache: {len(losses.corrupt)} blobs had wrong content and were not used")
        if losses.evicted:
            lines.append(f"remote cache: {len(losses.evicted)} blobs of known results were gone")
        return lines + self._upload_problems()

    def _upload_problems(self) -> list[str]:
        if self.uploads is None:
            return []
        sent = self.uploads.sent
        lines = [f"remote cache: a result could not be written, its place is taken: {text}" for text in sent.blocked]
        for one in sent.conflicts:
            record = keep_incident(self._disk.root, one)
            lines.append(
                f"not reproducible: the action {one.key.hash[:16]} gave other outputs before; both are kept: {record}"
            )
        if sent.postponed:
            lines.append(f"remote cache: {sent.postponed} results wait until a collector has deleted old blobs of them")
        if sent.failed - sent.postponed - len(sent.conflicts) - len(sent.blocked) > 0 and not self._guard.problems:
            lines.append(f"remote cache: {sent.failed} results could not be written")
        return lines


def whereabouts(result: pb.ActionResult) -> hb_pb2.Whereabouts | None:
    """What a stored result says of the remote it came from; None for one made here."""
    where = hb_pb2.Whereabouts()
    return where if any(one.Unpack(where) for one in result.execution_metadata.auxiliary_metadata) else None


def keep_incident(root: Path, conflict: Conflict) -> Path:
    """A reproducibility incident as a file: which outputs differ, and where both results are."""
    folder = root / "incidents"
    folder.mkdir(exist_ok=True)
    path = folder / f"{conflict.key.hash}-{time.time_ns()}.json"
    data = {
        "key": str(conflict.key),
        "ours": {"kept": conflict.aside, "outputs": _named(conflict.ours)},
        "theirs": {"outputs": _named(conflict.theirs)},
    }
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def _named(result: pb.ActionResult) -> dict[str, str]:
    found = {file.path: str(_digest(file.digest)) for file in result.output_files}
    return found | {one.path: str(_digest(one.root_directory_digest)) for one in result.output_directories}


def _digest(message: pb.Digest) -> Digest:
    return Digest(message.hash, message.size_bytes)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def zones(write: str, read: Sequence[str]) -> tuple[str, ...]:
    """The zone written to first, then the others that are read, each once."""
    return tuple(dict.fromkeys((write, *read)))
