"""A Remote Execution API v2 server as a cache: Capabilities, ActionCache, CAS, ByteStream.

Small blobs travel in batches, large ones as streams, zstd-compressed when the server offers it. The
server checks every blob against its digest, so zones share the CAS; a result of a zone other than
``main`` has a name of its own.

Sources: remote_execution.proto of the Remote Execution API v2 (resource names, limits of batches),
google/bytestream/bytestream.proto.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from hermetic.digest import Digest
from hermetic.proto import bytestream_pb2 as bs
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.remote.address import Address
from hermetic.store.remote.frames import BadFrame, Limited, compress, compressed, decompress, expand
from hermetic.store.remote.http import zoned
from hermetic.store.remote.protocol import Opener, RemoteError, Sink, Traffic

BATCH = 3 << 20  # bytes; messages are limited to 4 MiB unless both sides say otherwise
ASKED = 2000  # digests in one FindMissingBlobs
PIECE = 1 << 20  # bytes of a stream's message
SLOWEST = 100_000  # bytes a second: a stream slower than that has failed
ZSTD = pb.Compressor.ZSTD


class ReapiRemote:
    bucket = None

    def __init__(self, address: Address) -> None:
        self._address = address
        self._instance = address.path
        self._lock = threading.Lock()
        self._channel: Any = None
        self.traffic = Traffic()

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
        reply = self._call("ActionCache", "GetActionResult", request)
        return None if reply is None else bytes(reply.SerializeToString(deterministic=True))

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        found = self.get_result(key, zone)
        if found is not None:
            return found
        request = pb.UpdateActionResultRequest(instance_name=self._instance)
        _set(request.action_digest, zoned(key, zone))
        request.action_result.ParseFromString(data)
        if self._call("ActionCache", "UpdateActionResult", request, sent=len(data)) is None:
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
        request = bs.ReadRequest(resource_name=self._resource(f"{kind}/{digest}"))
        pieces = self._stream("Read", request, digest.size)
        if pieces is None:
            return False
        if squeezed:
            expand(pieces, sink, digest.size)
        else:
            limited = Limited(sink, digest.size)
            for data in pieces:
                limited.write(data)
        return True

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:  # noqa: ARG002
        request = pb.BatchReadBlobsRequest(instance_name=self._instance)
        for digest in digests:
            _set(request.digests.add(), digest)
        if ZSTD in self._abilities.supported_compressors:
            request.acceptable_compressors.append(ZSTD)
        reply = self._must("ContentAddressableStorage", "BatchReadBlobs", request)
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
                    self._write(f"{upload}/compressed-blobs/zstd/{digest}", frame, digest.size)
            else:
                self._write(f"{upload}/blobs/{digest}", source, digest.size)

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:  # noqa: ARG002
        squeeze = ZSTD in self._abilities.supported_batch_update_compressors
        request = pb.BatchUpdateBlobsRequest(instance_name=self._instance)
        for digest, data in blobs:
            one = request.requests.add(data=compress(data) if squeeze else data)
            _set(one.digest, digest)
            if squeeze:
                one.compressor = ZSTD
        size = sum(len(one.data) for one in request.requests)
        reply = self._must("ContentAddressableStorage", "BatchUpdateBlobs", request, sent=size)
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
            reply = self._must("ContentAddressableStorage", "FindMissingBlobs", request)
            missing.update(Digest(one.hash, one.size_bytes) for one in reply.missing_blob_digests)
        return missing

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    # --- requests ---------------------------------------------------------------------------------

    @cached_property
    def _abilities(self) -> pb.CacheCapabilities:
        request = pb.GetCapabilitiesRequest(instance_name=self._instance)
        found: pb.CacheCapabilities = self._must("Capabilities", "GetCapabilities", request).cache_capabilities
        if found.digest_functions and pb.DigestFunction.SHA256 not in found.digest_functions:
            raise RemoteError(f"{self.name}: the server does not take SHA-256 digests", fatal=True)
        return found

    def _resource(self, rest: str) -> str:
        return f"{self._instance}/{rest}" if self._instance else rest

    def _must(self, service: str, method: str, request: Any, sent: int = 0) -> Any:
        reply = self._call(service, method, request, sent)
        if reply is None:
            raise RemoteError(f"{self.name}: {method} is not there", hint="is the instance name right?", fatal=True)
        return reply

    def _call(self, service: str, method: str, request: Any, sent: int = 0) -> Any:
        """One request and its reply, or None for "not found"."""
        call = _method(self._connected().unary_unary, pb.DESCRIPTOR.services_by_name[service].methods_by_name[method])
        self.traffic.count(sent=sent)
        allowed = self._address.timeout + sent / SLOWEST
        reply = self._guarded(lambda: call(request, timeout=allowed, metadata=self._metadata))
        if reply is not None:
            self.traffic.count(received=reply.ByteSize(), requests=0)
        return reply

    def _stream(self, method: str, request: bs.ReadRequest, size: int) -> Iterator[bytes] | None:
        """The data of a server's stream, or None for "not found", which shows in the first message."""
        descriptor = bs.DESCRIPTOR.services_by_name["ByteStream"].methods_by_name[method]
        call = _method(self._connected().unary_stream, descriptor)
        self.traffic.count()
        allowed = 2 * self._address.timeout + size / SLOWEST
        replies = call(request, timeout=allowed, metadata=self._metadata)
        first = self._guarded(lambda: next(replies, bs.ReadResponse()))
        return None if first is None else self._pieces(first, replies)

    def _pieces(self, first: bs.ReadResponse, replies: Iterator[bs.ReadResponse]) -> Iterator[bytes]:
        reply: bs.ReadResponse | None = first
        while reply is not None:
            self.traffic.count(received=len(reply.data), requests=0)
            yield reply.data
            reply = self._guarded(lambda: next(replies, None))

    def _write(self, name: str, source: BinaryIO, size: int) -> None:
        descriptor = bs.DESCRIPTOR.services_by_name["ByteStream"].methods_by_name["Write"]
        call = _method(self._connected().stream_unary, descriptor)
        requests = _requests(self._resource(name), source, self.traffic)
        self.traffic.count()
        allowed = 2 * self._address.timeout + size / SLOWEST
        if self._guarded(lambda: call(requests, timeout=allowed, metadata=self._metadata)) is None:
            raise RemoteError(f"{self.name}: the server has no ByteStream", fatal=True)

    def _guarded(self, call: Callable[[], Any]) -> Any:
        import grpc

        try:
            return call()
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.NOT_FOUND:
                return None
            fatal = code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            fatal = fatal or code is grpc.StatusCode.UNIMPLEMENTED
            text = " ".join(str(error.details()).split())[:200]
            raise RemoteError(f"{self.name}: {code.name.lower().replace('_', ' ')}: {text}", fatal=fatal) from None

    @cached_property
    def _metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Headers of every request: the user's, a token, and who is asking."""
        tool = pb.RequestMetadata(tool_details=pb.ToolDetails(tool_name="hb"))
        found: list[tuple[str, str | bytes]] = [(name.lower(), value) for name, value in self._address.headers]
        if self._address.secret and not self._address.user:
            found.append(("authorization", f"Bearer {self._address.secret}"))
        found.append(("build.bazel.remote.execution.v2.requestmetadata-bin", tool.SerializeToString()))
        return tuple(found)

    def _connected(self) -> Any:
        with self._lock:
            if self._channel is None:
                self._channel = _channel(self._address)
            return self._channel


def _requests(name: str, source: BinaryIO, traffic: Traffic) -> Iterator[bs.WriteRequest]:
    """Offsets are counted, and the last message says that it is the last."""
    offset = 0
    data = source.read(PIECE)
    while True:
        following = source.read(PIECE) if data else b""
        yield bs.WriteRequest(resource_name=name, write_offset=offset, data=data, finish_write=not following)
        traffic.count(sent=len(data), requests=0)
        offset += len(data)
        if not following:
            return
        data = following


def _plain(data: bytes, digest: Digest) -> bytes:
    try:
        return decompress(data, digest.size)
    except BadFrame:
        return b""  # fails its check like any other wrong content


def _method(kind: Any, descriptor: Any) -> Any:
    """A callable for a method, made from its descriptor."""
    from google.protobuf.message_factory import GetMessageClass

    return kind(
        f"/{descriptor.containing_service.full_name}/{descriptor.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(descriptor.output_type).FromString,
    )


def _channel(address: Address) -> Any:
    import grpc

    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.primary_user_agent", "hb")]
    if address.scheme == "grpc":
        return grpc.insecure_channel(address.host, options)
    try:
        files = {
            name: Path(address.options[name]).read_bytes() for name in ("ca", "cert", "key") if name in address.options
        }
    except OSError as error:
        raise RemoteError(f"{address}: {error.filename} cannot be read: {error.strerror}", fatal=True) from None
    credentials = grpc.ssl_channel_credentials(files.get("ca"), files.get("key"), files.get("cert"))
    return grpc.secure_channel(address.host, credentials, options)


def _set(message: pb.Digest, digest: Digest) -> None:
    message.hash, message.size_bytes = digest.hash, digest.size
