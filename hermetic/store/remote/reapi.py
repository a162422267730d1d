"""A Remote Execution API v2 server as a cache: Capabilities, ActionCache, CAS, ByteStream.

Small blobs travel in batches, large ones as streams, zstd-compressed when the server offers it. The
server checks every blob against its digest, so zones share the CAS; a result of a zone other than
``main`` has a name of its own.

Sources: remote_execution.proto of the Remote Execution API v2 (resource names, limits of batches),
google/bytestream/bytestream.proto.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import cached_property

from hermetic.digest import Digest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.remote.address import Address
from hermetic.store.remote.flow import Flow, Pace
from hermetic.store.remote.frames import BadFrame, compress, compressed, copy, decompress, expand
from hermetic.store.remote.http import zoned
from hermetic.store.remote.protocol import Opener, RemoteError, Sink, Traffic
from hermetic.store.remote.rpc import Rpc

BATCH = 3 << 20  # bytes; messages are limited to 4 MiB unless both sides say otherwise
ASKED = 2000  # digests in one FindMissingBlobs
ZSTD = pb.Compressor.ZSTD


class ReapiRemote:
    bucket = None

    def __init__(self, address: Address) -> None:
        self._address = address
        self._instance = address.path
        self.traffic = Traffic()
        self._rpc = Rpc(address, Flow(Pace(address.timeout)), self.traffic)

    @property
    def name(self) -> str:
        return str(self._address)

    @property
    def batch(self) -> int:
        return min(self._abilities.max_batch_total_size_bytes or BATCH, BATCH)

    # --- results ----------------------------------------------------------------------------------

    def get_result(self, key: Digest, zone: str) -> bytes | None:
        request = pb.GetActionResultRequest(instance_name=self._instance)
        _set(request.action_digest, zoned(key, zone))
        reply = self._rpc.call("ActionCache", "GetActionResult", request)
        return None if reply is None else bytes(reply.SerializeToString(deterministic=True))

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        found = self.get_result(key, zone)
        if found is not None:
            return found
        request = pb.UpdateActionResultRequest(instance_name=self._instance)
        _set(request.action_digest, zoned(key, zone))
        request.action_result.ParseFromString(data)
        if self._rpc.call("ActionCache", "UpdateActionResult", request, sent=len(data)) is None:
            raise RemoteError(f"{self.name}: the server did not take a result")
        return None

    def put_aside(self, key: Digest, zone: str, data: bytes) -> str:  # noqa: ARG002
        digest = Digest.of(data)
        self.put_small([(digest, data)], zone)
        return f"{self.name} {digest}"

    # --- blobs ------------------------------------------------------------------------------------

    def get_blob(self, digest: Digest, zone: str, sink: Sink) -> bool:  # noqa: ARG002
        squeezed = ZSTD in self._abilities.supported_compressors
        kind = "compressed-blobs/zstd" if squeezed else "blobs"
        with self._rpc.read(self._resource(f"{kind}/{digest}"), digest.size) as pieces:
            if pieces is None:
                return False
            (expand if squeezed else copy)(pieces, sink, digest.size)
        return True

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:  # noqa: ARG002
        request = pb.BatchReadBlobsRequest(instance_name=self._instance)
        for digest in digests:
            _set(request.digests.add(), digest)
        if ZSTD in self._abilities.supported_compressors:
            request.acceptable_compressors.append(ZSTD)
        size = sum(digest.size for digest in digests)
        reply = self._rpc.must("ContentAddressableStorage", "BatchReadBlobs", request, wanted=size)
        found = {}
        for one in reply.responses:
            if one.status.code == 0:
                digest = Digest(one.digest.hash, one.digest.size_bytes)
                found[digest] = _plain(one.data, digest) if one.compressor == ZSTD else one.data
        return found

    def put_blob(self, digest: Digest, zone: str, content: Opener) -> None:  # noqa: ARG002
        upload = f"uploads/{uuid.uuid4()}"
        with content() as source:
            if ZSTD in self._abilities.supported_compressors:
                with compressed(source, digest.size) as (frame, _):
                    self._rpc.write(self._resource(f"{upload}/compressed-blobs/zstd/{digest}"), frame, digest.size)
            else:
                self._rpc.write(self._resource(f"{upload}/blobs/{digest}"), source, digest.size)

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:  # noqa: ARG002
        squeeze = ZSTD in self._abilities.supported_batch_update_compressors
        request = pb.BatchUpdateBlobsRequest(instance_name=self._instance)
        for digest, data in blobs:
            one = request.requests.add(data=compress(data) if squeeze else data)
            _set(one.digest, digest)
            if squeeze:
                one.compressor = ZSTD
        size = sum(len(one.data) for one in request.requests)
        reply = self._rpc.must("ContentAddressableStorage", "BatchUpdateBlobs", request, sent=size)
        bad = [one for one in reply.responses if one.status.code != 0]
        if bad:
            raise RemoteError(f"{self.name}: {len(bad)} blobs were not taken: {bad[0].status.message}")

    def find_missing(self, digests: Iterable[Digest], zone: str) -> set[Digest]:  # noqa: ARG002
        wanted = list(dict.fromkeys(digests))
        missing: set[Digest] = set()
        for start in range(0, len(wanted), ASKED):
            request = pb.FindMissingBlobsRequest(instance_name=self._instance)
            for digest in wanted[start : start + ASKED]:
                _set(request.blob_digests.add(), digest)
            reply = self._rpc.must("ContentAddressableStorage", "FindMissingBlobs", request)
            missing.update(Digest(one.hash, one.size_bytes) for one in reply.missing_blob_digests)
        return missing

    def close(self) -> None:
        self._rpc.close()

    # --- requests ---------------------------------------------------------------------------------

    @cached_property
    def _abilities(self) -> pb.CacheCapabilities:
        request = pb.GetCapabilitiesRequest(instance_name=self._instance)
        found: pb.CacheCapabilities = self._rpc.must("Capabilities", "GetCapabilities", request).cache_capabilities
        if found.digest_functions and pb.DigestFunction.SHA256 not in found.digest_functions:
            raise RemoteError(f"{self.name}: the server does not take SHA-256 digests", fatal=True)
        return found

    def _resource(self, rest: str) -> str:
        return f"{self._instance}/{rest}" if self._instance else rest


def _plain(data: bytes, digest: Digest) -> bytes:
    try:
        return decompress(data, digest.size)
    except BadFrame:
        return b""  # fails its check like any other wrong content


def _set(message: pb.Digest, digest: Digest) -> None:
    message.hash, message.size_bytes = digest.hash, digest.size
