"""gRPC calls to one REAPI server: single messages and streams, each given up when it stands still.

Guarantees: what carries much goes over a connection of its own, so that a small question never waits behind it in a
buffer; a stream that has not moved for twice the seconds without an answer is cancelled, however long it may be; time
that hb itself needs for what came does not count. ``None`` stands for "not found", every other failure is a
RemoteError. Thread-safe.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from hermetic.proto import bytestream_pb2 as bs
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.remote.address import Address
from hermetic.store.remote.flow import LONG, Flow, Pace
from hermetic.store.remote.protocol import RemoteError, Traffic

PIECE = 256 << 10  # bytes of a message of a stream
MESSAGE = 4 << 20  # bytes of the longest that a server sends
T = TypeVar("T")


class Rpc:
    def __init__(self, address: Address, flow: Flow, traffic: Traffic) -> None:
        self._address = address
        self._flow = flow
        self._traffic = traffic
        self._lock = threading.Lock()
        self._channels: dict[bool, Any] = {}  # True: for what carries much
        self._pulse = _Pulse()

    @property
    def name(self) -> str:
        return str(self._address)

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    # --- messages ---------------------------------------------------------------------------------

    def must(self, service: str, method: str, request: Any, *, sent: int = 0, wanted: int = 0) -> Any:
        reply = self.call(service, method, request, sent=sent, wanted=wanted)
        if reply is None:
            raise RemoteError(f"{self.name}: {method} is not there", hint="is the instance name right?", fatal=True)
        return reply

    def call(self, service: str, method: str, request: Any, *, sent: int = 0, wanted: int = 0) -> Any:
        """One request and its reply, or None for "not found". ``sent``, ``wanted``: bytes of blobs in both."""
        descriptor = pb.DESCRIPTOR.services_by_name[service].methods_by_name[method]
        with self._flow.sending(sent), self._flow.receiving(wanted):
            call = _method(self._channel(sent + wanted).unary_unary, descriptor)
            self._traffic.count(sent=sent)
            allowed = self._flow.pace.whole(sent + wanted)
            reply = self._guarded(lambda: call(request, timeout=allowed, metadata=self._metadata))
        if reply is not None:
            self._traffic.count(received=reply.ByteSize(), requests=0)
        return reply

    # --- streams ----------------------------------------------------------------------------------

    @contextmanager
    def read(self, resource: str, size: int) -> Iterator[Iterator[bytes] | None]:
        """The data of a blob while the block lasts, or None for "not found", which shows in the first message."""
        with self._flow.receiving(size):
            call = _method(self._channel(size).unary_stream, _stream("Read"))
            self._traffic.count()
            replies = call(bs.ReadRequest(resource_name=resource), metadata=self._metadata)
            with _Watch(self._flow.pace, self._pulse).over(replies.cancel) as watch:
                first = self._next(replies, watch, bs.ReadResponse())
                yield None if first is None else self._data(first, replies, watch)

    def _data(self, first: bs.ReadResponse, replies: Iterator[bs.ReadResponse], watch: _Watch) -> Iterator[bytes]:
        reply: bs.ReadResponse | None = first
        while reply is not None:
            self._traffic.count(received=len(reply.data), requests=0)
            yield reply.data
            reply = self._next(replies, watch, None)

    def _next(
        self, replies: Iterator[bs.ReadResponse], watch: _Watch, end: bs.ReadResponse | None
    ) -> bs.ReadResponse | None:
        watch.begin()
        found: bs.ReadResponse | None = self._guarded(lambda: next(replies, end))
        watch.end()
        return found

    def write(self, resource: str, source: BinaryIO, size: int) -> None:
        """Send a stream's content. ``size``: about how much it is."""
        with self._flow.sending(size):
            call = _method(self._channel(size).stream_unary, _stream("Write"))
            self._traffic.count()
            watch = _Watch(self._flow.pace, self._pulse)
            reply = call.future(self._requests(resource, source, watch), metadata=self._metadata)
            with watch.over(reply.cancel):
                if self._guarded(reply.result) is None:
                    raise RemoteError(f"{self.name}: the server has no ByteStream", fatal=True)

    def _requests(self, name: str, source: BinaryIO, watch: _Watch) -> Iterator[bs.WriteRequest]:
        """Offsets are counted, and the last message says that it is the last. The next message is asked for when one
        is on its way."""
        offset = 0
        data = source.read(PIECE)
        while True:
            following = source.read(PIECE) if data else b""
            offset += len(data)
            watch.begin(0 if following else offset)
            yield bs.WriteRequest(
                resource_name=name, write_offset=offset - len(data), data=data, finish_write=not following
            )
            self._traffic.count(sent=len(data), requests=0)
            if not following:
                return
            watch.end()
            data = following

    # --- the rest ---------------------------------------------------------------------------------

    def _guarded(self, call: Callable[[], T]) -> T | None:
        import grpc

        try:
            return call()
        except grpc.FutureCancelledError:
            raise RemoteError(f"{self.name}: the server stood still") from None
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.NOT_FOUND:
                return None
            if code is grpc.StatusCode.CANCELLED:
                raise RemoteError(f"{self.name}: the server stood still") from None
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

    def _channel(self, size: int) -> Any:
        large = size > LONG
        with self._lock:
            if large not in self._channels:
                self._channels[large] = _channel(self._address)
            return self._channels[large]


class _Pulse:
    """When anything moved last, of all streams to a server: they share a connection, and wait for each other there."""

    def __init__(self) -> None:
        self.last = 0.0

    def beat(self) -> None:
        self.last = time.monotonic()


class _Watch:
    """Cancels a call when the other side lets it wait for too long: when nothing moves at all, or not this stream
    although others do."""

    def __init__(self, pace: Pace, pulse: _Pulse) -> None:
        self._pace = pace
        self._pulse = pulse
        self._since = math.inf
        self._silence = self._patience = 0.0
        self._over = threading.Event()

    def begin(self, sent: int = 0) -> None:
        """From now on the other side's turn. ``sent``: everything was sent, so many bytes."""
        self._silence = self._pace.reply(sent) if sent else 2 * self._pace.silence
        self._patience = max(self._silence, self._pace.whole(MESSAGE))
        self._since = time.monotonic()

    def end(self) -> None:
        self._since = math.inf
        self._pulse.beat()

    @contextmanager
    def over(self, cancel: Callable[[], object]) -> Iterator[_Watch]:
        thread = threading.Thread(target=self._serve, args=(cancel,), name="watch", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            cancel()  # of a stream that was left; nothing for one that is over

    def _serve(self, cancel: Callable[[], object]) -> None:
        while not self._over.wait(self._pace.silence / 4):
            now, since = time.monotonic(), self._since
            if now - max(since, self._pulse.last) > self._silence or now - since > self._patience:
                cancel()
                return


def _stream(method: str) -> Any:
    return bs.DESCRIPTOR.services_by_name["ByteStream"].methods_by_name[method]


def _method(kind: Any, descriptor: Any) -> Any:
    """A callable for a method, made from its descriptor."""
    from google.protobuf.message_factory import GetMessageClass

    return kind(
        f"/{descriptor.containing_service.full_name}/{descriptor.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(descriptor.output_type).FromString,
    )


def _channel(address: Address) -> Any:
    """A connection of its own: gRPC shares those to one server otherwise."""
    import grpc

    options = [
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.primary_user_agent", "hb"),
        ("grpc.use_local_subchannel_pool", 1),
    ]
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
