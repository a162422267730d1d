"""Requests to one S3 bucket: read, create, list and delete objects by name.

Guarantees: an object is only ever created, never overwritten (``If-None-Match: *``), so a bucket policy can demand
it. A refusal becomes a RemoteError that says whether asking again is of use. Thread-safe; nothing is contacted
before the first request.

Sources: the S3 API reference (PutObject, CompleteMultipartUpload, GetObject, ListObjectsV2, DeleteObjects).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from hermetic.store.remote import service
from hermetic.store.remote.address import Address
from hermetic.store.remote.denied import denied
from hermetic.store.remote.flow import PART, WIDTH, Flow, Lane, Pace
from hermetic.store.remote.protocol import RESULT_LIMIT, RemoteError, Traffic
from hermetic.store.remote.service import Content, Service
from hermetic.store.remote.turns import in_turn

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

TRIES = 4  # of a conditional write that met another one
PAGE = 1000  # objects deleted in one request; S3 takes no more
_GONE = frozenset({"NoSuchKey", "404", "NotFound"})
_DENIED = frozenset({"AccessDenied", "403", "Forbidden"})
_TAKEN = frozenset({"PreconditionFailed", "412"})
_BUSY = frozenset({"ConditionalRequestConflict", "409", "OperationAborted"})
_FATAL = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "the access key is unknown",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Object:
    """One line of a listing. ``time``: seconds since 1970, by the server's clock."""

    place: str
    size: int
    time: float
    tag: str = ""  # changes with its content


class Bucket:
    def __init__(self, address: Address, traffic: Traffic) -> None:
        self.address = address
        self._traffic = traffic
        self._lock = threading.Lock()
        self._made: Service | None = None
        self._flow = Flow(Pace(address.timeout))

    @property
    def name(self) -> str:
        return str(self.address)

    def place(self, path: str) -> str:
        """The object's name for a path below ``<prefix>/hb/``."""
        return f"{self.address.path}/hb/{path}" if self.address.path else f"hb/{path}"

    def url(self, place: str) -> str:
        return f"s3://{self.address.host}/{place}"

    def warm(self) -> None:
        """Make the client, which takes longer than a request."""
        self._service()

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    # --- reading ----------------------------------------------------------------------------------

    def read(self, place: str, limit: int = RESULT_LIMIT) -> bytes | None:
        found = self._get(place)
        if found is None:
            return None
        if found.length > limit:
            raise RemoteError(f"{self.name}: an object is too long: {place}")
        return b"".join(self._pieces(found))

    def exists(self, place: str) -> bool:
        return bool(self._ask(lambda s3: s3.head(self.address.host, place)))

    @contextmanager
    def download(self, place: str, size: int) -> Iterator[Iterator[bytes] | None]:
        """An object's bytes: the first part tells how long it is, the others come side by side. ``size``: what it
        may be."""
        with self._flow.receiving(size) as lane:
            found = self._get(place, Range=f"bytes=0-{PART - 1}")
            yield None if found is None else self._parts(place, found, lane)

    def _parts(self, place: str, first: Content, lane: Lane) -> Iterator[bytes]:
        def fetch(start: int) -> list[bytes]:
            span = f"bytes={start}-{min(start + PART, first.whole) - 1}"
            found = self._get(place, Range=span, IfMatch=first.tag)
            if found is None:
                raise RemoteError(f"{self.name}: an object went away while it was read")
            return list(self._pieces(found))

        yield from self._pieces(first)
        yield from chain.from_iterable(in_turn(fetch, range(PART, first.whole, PART), WIDTH, lane.room))

    def _get(self, place: str, **parameters: str) -> Content | None:
        return self._ask(lambda s3: s3.get(self.address.host, place, **parameters))

    def _pieces(self, found: Content) -> Iterator[bytes]:
        return self._service().wire.pieces(found.body, found.length)

    def listing(self, prefix: str) -> Iterator[Object]:
        """The objects whose names begin so, in order of name, a request for each thousand."""
        more: dict[str, str] = {}
        while True:
            where = {"Bucket": self.address.host, "Prefix": prefix, **more}
            reply = self._must(lambda s3, where=where: s3.client.list_objects_v2(**where))  # type: ignore[misc]
            for one in reply.get("Contents", ()):
                yield Object(one["Key"], one["Size"], one["LastModified"].timestamp(), one["ETag"])
            if not reply.get("IsTruncated"):
                return
            more = {"ContinuationToken": reply["NextContinuationToken"]}

    def now(self) -> float:
        """Seconds since 1970 by the server's clock, which is the one that dates objects."""
        where = {"Bucket": self.address.host, "Prefix": self.place("condemned/"), "MaxKeys": 1}
        headers = self._must(lambda s3: s3.client.list_objects_v2(**where))["ResponseMetadata"]["HTTPHeaders"]
        try:
            date: datetime = parsedate_to_datetime(headers["date"])
        except (KeyError, TypeError, ValueError):
            raise RemoteError(f"{self.name}: the server does not say what time it is", fatal=True) from None
        return date.timestamp()

    # --- writing ----------------------------------------------------------------------------------

    def create(self, place: str, data: bytes) -> bool:
        """Write an object that is not there yet; False when it is."""
        with self._flow.sending(len(data)):
            return self._create(place, data)

    def create_from(self, place: str, pieces: Iterator[bytes], size: int) -> bool:
        """The same for an object that comes in pieces of PART bytes, the last one shorter. ``size``: about how long
        it is."""
        with self._flow.sending(size) as lane:
            first, second = next(pieces, b""), next(pieces, b"")
            if len(second) < PART:
                return self._create(place, first + second)
            return self._create_in_parts(place, chain((first, second), pieces), lane)

    def _create(self, place: str, data: bytes) -> bool:
        return self._conditional(
            lambda s3: s3.client.put_object(**self._where(place), Body=data, IfNoneMatch="*"), len(data)
        )

    def _create_in_parts(self, place: str, pieces: Iterable[bytes], lane: Lane) -> bool:
        where = self._where(place)
        upload = self._must(lambda s3: s3.client.create_multipart_upload(**where))["UploadId"]

        def part(numbered: tuple[int, bytes]) -> dict[str, Any]:
            number, data = numbered
            reply = self._must(
                lambda s3: s3.client.upload_part(**where, UploadId=upload, PartNumber=number, Body=data), len(data)
            )
            return {"ETag": reply["ETag"], "PartNumber": number}

        try:
            done = {"Parts": list(in_turn(part, enumerate(pieces, 1), WIDTH, lane.room))}
            return self._conditional(
                lambda s3: s3.client.complete_multipart_upload(
                    **where, UploadId=upload, MultipartUpload=done, IfNoneMatch="*"
                ),
                0,
            )
        except RemoteError:
            self._ask(lambda s3: s3.client.abort_multipart_upload(**where, UploadId=upload))
            raise

    def begin_and_abort(self, place: str) -> None:
        """Whether an object may be written; nothing of it stays. Raises Denied."""
        where = self._where(place)
        upload = self._must(lambda s3: s3.client.create_multipart_upload(**where))["UploadId"]
        self._ask(lambda s3: s3.client.abort_multipart_upload(**where, UploadId=upload))

    def overwrite_nothing(self, place: str) -> None:
        """Whether objects may be overwritten, tried on one that is not there: a bucket's policy may demand that none
        is, the condition demands one, so nothing is written. Raises Denied."""
        with suppress(_Taken):
            self._ask(lambda s3: s3.client.put_object(**self._where(place), Body=b"", IfMatch='"none"'))

    def delete(self, places: Sequence[str]) -> None:
        """Raises RemoteError when one of them stays. What is not there counts as deleted."""
        for start in range(0, len(places), PAGE):
            names = [{"Key": place} for place in places[start : start + PAGE]]
            reply = self._must(
                lambda s3, names=names: s3.client.delete_objects(  # type: ignore[misc]
                    Bucket=self.address.host, Delete={"Objects": names, "Quiet": True}
                )
            )
            wrong = [one for one in reply.get("Errors", ()) if one.get("Code") not in _GONE]
            if wrong and wrong[0].get("Code") in _DENIED:
                raise denied(self.address, "DeleteObjects", wrong[0])
            if wrong:
                raise RemoteError(f"{self.name}: {wrong[0].get('Key')} stays: {wrong[0].get('Code')}")

    # --- requests ---------------------------------------------------------------------------------

    def _where(self, place: str) -> dict[str, Any]:
        return {"Bucket": self.address.host, "Key": place}

    def _conditional(self, call: Callable[[Service], Any], sent: int) -> bool:
        for _ in range(TRIES):
            try:
                self._must(call, sent)
                return True
            except _Taken:
                return False
            except _Busy:
                continue
        raise RemoteError(f"{self.name}: other writers of the same object never end")

    def _must(self, call: Callable[[Service], T], sent: int = 0) -> T:
        reply = self._ask(call, sent)
        if reply is None:
            raise RemoteError(f"{self.name}: an object went away while it was used")
        return reply

    def _ask(self, call: Callable[[Service], T], sent: int = 0) -> T | None:
        """One request. None: there is no such object. A role that may not list gets "denied" for it."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        self._traffic.count(sent=sent)
        try:
            return call(self._service())
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _GONE:
                return None
            raise self._meaning(code, error) from None
        except HTTPClientError as error:
            raise RemoteError(str(error.kwargs["error"])) from None
        except BotoCoreError as error:
            raise RemoteError(f"{self.name}: {error}", fatal="redential" in type(error).__name__) from None

    def _meaning(self, code: str, error: ClientError) -> RemoteError:
        if code in _TAKEN:
            return _Taken(f"{self.name}: the object exists")
        if code in _BUSY:
            return _Busy(f"{self.name}: another writer is at it")
        if code in _FATAL:
            return RemoteError(f"{self.name}: {_FATAL[code]}", fatal=True)
        if code in _DENIED:
            return denied(self.address, error.operation_name, error.response["Error"])
        return RemoteError(f"{self.name}: {error}")

    def _service(self) -> Service:
        with self._lock:
            if self._made is None:
                self._made = service.connect(self.address, self._flow.pace, self._traffic)
            return self._made


class _Taken(RemoteError):
    """The condition of a write did not hold."""


class _Busy(RemoteError):
    """Two conditional writes met; one of them has to be tried again."""
