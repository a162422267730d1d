"""Entries: what is stored for an action, signed.

An entry is an action's result with what it takes to have its outputs: small blobs inline, the packs the
others are in. It is compressed, signed (DSSE) and carried inside an ordinary ``ActionResult``, so that
servers which look into results find one, and keep the blobs it names alive.

Guarantees of ``opened``: the entry was signed by a key of the policy, for this action and this zone.
Nothing of what came from elsewhere is parsed before its signature holds, but the carrier itself.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hermetic.digest import Digest
from hermetic.errors import StoreError
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.remote.frames import BadFrame, compress, decompress
from hermetic.store.remote.ledger import Name, packed, unpacked
from hermetic.store.trust import Policy, Signer, Untrusted

TYPE = "application/vnd.hb.entry.v1+zstd"
INLINE = 16 << 10  # blobs up to this size may travel in the entry
INLINE_TREE = 128 << 10  # so may a tree's directories
INLINE_TOTAL = 512 << 10  # all together; gRPC messages end at 4 MiB
UNFOLDED = 64 << 20  # what an entry may unfold to
NAMED = 1000  # blobs that the carrier names


@dataclass(frozen=True, slots=True)
class Opened:
    """An entry that is trusted."""

    result: pb.ActionResult
    where: hb_pb2.Whereabouts
    inline: tuple[bytes, ...]


Needs: TypeAlias = frozenset[Name]  # the objects of a bucket that an entry stands on: without one it is broken


class NewerEntry(StoreError):
    """An entry of a form this hb does not know."""


def seal(
    key: Digest,
    result: pb.ActionResult,
    where: hb_pb2.Whereabouts,
    inline: Iterable[bytes],
    stored: Sequence[Digest],
    signer: Signer,
    needs: Iterable[Name] = (),
) -> bytes:
    """The bytes to store for a key. ``result``: with tree digests; ``inline``: small blobs it needs;
    ``stored``: the remote's blobs that the entry needs, for servers which look after what results name;
    ``needs``: the same for collectors of buckets, where nothing is looked after."""
    entry = hb_pb2.Entry(key=str(key), written=int(time.time()), writer=_writer())
    entry.needs.extend(packed(needs))
    entry.where.CopyFrom(where)
    entry.result = result.SerializeToString(deterministic=True)
    entry.inline.extend(inline)
    envelope = signer.sign(compress(entry.SerializeToString(deterministic=True)), TYPE)
    return carrier(envelope, stored[:NAMED]).SerializeToString(deterministic=True)


def carrier(envelope: hb_pb2.Envelope, blobs: Sequence[Digest]) -> pb.ActionResult:
    """An ActionResult that names the remote blobs and carries the envelope."""
    message = pb.ActionResult()
    for number, digest in enumerate(blobs):
        file = message.output_files.add(path=f"hb/{number}")
        file.digest.hash, file.digest.size_bytes = digest.hash, digest.size
    message.execution_metadata.auxiliary_metadata.add().Pack(envelope)
    return message


def opened(data: bytes, key: Digest, zone: str, policy: Policy) -> Opened:
    """The entry in what a remote gave for a key. Raises Untrusted for anything doubtful."""
    signed = envelope(data)
    payload, signer = policy.opened(signed, TYPE)
    try:
        entry = hb_pb2.Entry.FromString(decompress(payload, UNFOLDED))
        result = pb.ActionResult.FromString(entry.result)
    except BadFrame as error:
        raise Untrusted(str(error)) from None
    except Exception as error:  # protobuf's DecodeError has no stable public base
        raise Untrusted(f"its payload is no entry: {error}") from None
    if entry.key != str(key):
        raise Untrusted("it was written for another action")
    if entry.where.zone != zone:
        raise Untrusted(f"it was written for the zone {entry.where.zone!a}")
    entry.where.signer = signer
    return Opened(result, entry.where, tuple(entry.inline))


def needs_of(data: bytes) -> Needs:
    """What an entry stands on, whoever signed it: for a collector, to whom a lie can only give more to keep.
    Raises Untrusted for what is no entry, NewerEntry."""
    signed = envelope(data)
    if signed.payload_type != TYPE:
        raise NewerEntry(f"there are entries of the type {signed.payload_type[:80]!r}")
    try:
        entry = hb_pb2.Entry.FromString(decompress(signed.payload, UNFOLDED))
    except Exception as error:  # BadFrame, or protobuf's DecodeError, which has no stable public base
        raise Untrusted(f"its payload is no entry: {error}") from None
    return frozenset(unpacked(entry.needs))


def envelope(data: bytes) -> hb_pb2.Envelope:
    found = hb_pb2.Envelope()
    try:
        message = pb.ActionResult.FromString(data)
        for one in message.execution_metadata.auxiliary_metadata:
            if one.Unpack(found):
                return found
    except Exception as error:  # see above
        raise Untrusted(f"it is no result: {error}") from None
    raise Untrusted("it is not signed")


def same_outputs(one: pb.ActionResult, other: pb.ActionResult) -> bool:
    """Whether two results name the same outputs; logs and traces may differ."""
    return _outputs(one) == _outputs(other)


def _outputs(result: pb.ActionResult) -> list[tuple[str, str, bool]]:
    files = [(file.path, file.digest.hash, file.is_executable) for file in result.output_files]
    return sorted(files + [(one.path, one.root_directory_digest.hash, False) for one in result.output_directories])


def _writer() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return ""
