"""A bucket as a cache.

    <prefix>/hb/ac/<zone>/<hh>/<key>            signed results, written once
    <prefix>/hb/cas/<zone>/<hh>/<sha256>        blobs as zstd frames, named by their content
    <prefix>/hb/conflict/<zone>/<key>-<sha256>  results that lost their place

Every write is conditional (``If-None-Match: *``), so a bucket policy can demand it: what has a name
keeps its content. Reads are one GET; what is longer than a part comes in parallel ranges. A bucket
has no batches and no index, so small blobs come here in packs.

Sources: the S3 API reference (PutObject, CompleteMultipartUpload, GetObject), conditional writes.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, BinaryIO, TypeVar

from hermetic.digest import Digest
from hermetic.store.remote.address import Address
from hermetic.store.remote.frames import Pieces, expand, frame_of
from hermetic.store.remote.protocol import RESULT_LIMIT, Deadline, Opener, RemoteError, Traffic
from hermetic.store.remote.turns import in_turn

PART = 8 << 20  # bytes of a range or part; S3 takes no parts below 5 MiB
FIRST, PIECE = 256, 256 << 10  # bytes read at once
WIDTH = 8  # parts of one object at the same time
CONNECTIONS = 64
TRIES = 4  # of a conditional write that met another one
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


class S3Remote:
    batch = 0

    def __init__(self, address: Address) -> None:
        self._address = address
        self._root = f"{address.path}/hb" if address.path else "hb"
        self._lock = threading.Lock()
        self._made: Any = None
        self.traffic = Traffic()

    @property
    def name(self) -> str:
        return str(self._address)

    @property
    def address(self) -> Address:
        return self._address

    # --- results ----------------------------------------------------------------------------------

    def get_result(self, key: Digest, zone: str) -> bytes | None:
        return self._read(self._ac(key, zone))

    def put_result(self, key: Digest, zone: str, data: bytes) -> bytes | None:
        place = self._ac(key, zone)
        for _ in range(TRIES):
            if self._create(place, data):
                return None
            found = self._read(place)
            if found is not None:
                return found
        raise RemoteError(f"{self.name}: a result can be neither written nor read")

    def put_aside(self, key: Digest, zone: str, data: bytes) -> str:
        place = f"{self._root}/conflict/{zone}/{key.hash}-{hashlib.sha256(data).hexdigest()}"
        self._create(place, data)
        return f"s3://{self._address.host}/{place}"

    # --- blobs ------------------------------------------------------------------------------------

    def get_blob(self, digest: Digest, zone: str, sink: BinaryIO) -> bool:
        parts = self._download(self._cas(digest, zone))
        if parts is None:
            return False
        expand(Pieces(parts), sink, digest.size)  # type: ignore[arg-type]
        return True

    def get_small(self, digests: Sequence[Digest], zone: str) -> dict[Digest, bytes]:
        raise NotImplementedError("a bucket has no batches")

    def put_small(self, blobs: Sequence[tuple[Digest, bytes]], zone: str) -> None:
        raise NotImplementedError("a bucket has no batches")

    def put_blob(self, digest: Digest, zone: str, content: Opener) -> None:
        place = self._cas(digest, zone)
        with content() as source:
            pieces = frame_of(source, digest.size, PART)
            first, second = next(pieces, b""), next(pieces, b"")
            if len(second) < PART:
                self._create(place, first + second)
            else:
                self._create_in_parts(place, chain((first, second), pieces))

    def find_missing(self, digests: Iterable[Digest], zone: str) -> set[Digest]:
        wanted = list(dict.fromkeys(digests))
        with ThreadPoolExecutor(WIDTH) as pool:
            there = pool.map(lambda digest: self._exists(self._cas(digest, zone)), wanted)
            return {digest for digest, found in zip(wanted, there, strict=True) if not found}

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    # --- names ------------------------------------------------------------------------------------

    def _ac(self, key: Digest, zone: str) -> str:
        return f"{self._root}/ac/{zone}/{key.hash[:2]}/{key.hash}"

    def _cas(self, digest: Digest, zone: str) -> str:
        return f"{self._root}/cas/{zone}/{digest.hash[:2]}/{digest.hash}"

    # --- requests ---------------------------------------------------------------------------------

    def _read(self, place: str) -> bytes | None:
        reply = self._ask(lambda s3: s3.get_object(Bucket=self._address.host, Key=place))
        if reply is None:
            return None
        if reply["ContentLength"] > RESULT_LIMIT:
            raise RemoteError(f"{self.name}: a result is too long")
        return self._body(reply["Body"], reply["ContentLength"])

    def _exists(self, place: str) -> bool:
        return self._ask(lambda s3: s3.head_object(Bucket=self._address.host, Key=place)) is not None

    def _create(self, place: str, data: bytes) -> bool:
        """Write an object that is not there yet; False when it is."""

        def put(s3: Any) -> Any:
            return s3.put_object(Bucket=self._address.host, Key=place, Body=data, IfNoneMatch="*")

        return self._conditional(put, len(data))

    def _create_in_parts(self, place: str, pieces: Iterable[bytes]) -> bool:
        where = {"Bucket": self._address.host, "Key": place}
        upload = self._must(lambda s3: s3.create_multipart_upload(**where))["UploadId"]

        def part(numbered: tuple[int, bytes]) -> dict[str, Any]:
            number, data = numbered
            reply = self._must(
                lambda s3: s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=data), len(data)
            )
            return {"ETag": reply["ETag"], "PartNumber": number}

        try:
            done = {"Parts": list(in_turn(part, enumerate(pieces, 1), WIDTH))}
            return self._conditional(
                lambda s3: s3.complete_multipart_upload(
                    **where, UploadId=upload, MultipartUpload=done, IfNoneMatch="*"
                ),
                0,
            )
        except RemoteError:
            self._ask(lambda s3: s3.abort_multipart_upload(**where, UploadId=upload))
            raise

    def _conditional(self, call: Callable[[Any], Any], sent: int) -> bool:
        for _ in range(TRIES):
            try:
                self._must(call, sent)
                return True
            except _Taken:
                return False
            except _Busy:
                continue
        raise RemoteError(f"{self.name}: other writers of the same object never end")

    def _download(self, place: str) -> Iterator[bytes] | None:
        """An object's bytes: the first part tells how long it is, the others come together."""
        where = {"Bucket": self._address.host, "Key": place}
        reply = self._ask(lambda s3: s3.get_object(**where, Range=f"bytes=0-{PART - 1}"))
        if reply is None:
            return None
        found = re.fullmatch(r"bytes 0-\d+/(\d+)", reply.get("ContentRange", ""))
        length = int(found[1]) if found else 0

        def fetch(start: int) -> bytes:
            span = f"bytes={start}-{min(start + PART, length) - 1}"
            one = self._must(lambda s3: s3.get_object(**where, Range=span, IfMatch=reply["ETag"]))
            return self._body(one["Body"], one["ContentLength"])

        first = self._body(reply["Body"], reply["ContentLength"])
        return chain((first,), in_turn(fetch, range(PART, length, PART), WIDTH))

    def _body(self, body: Any, size: int) -> bytes:
        deadline = Deadline(self.name, size, 2 * self._address.timeout)
        parts = []
        piece = FIRST  # grows: a slow answer shows early, a quick one is read in large pieces
        try:
            while data := body.read(piece):
                parts.append(data)
                deadline.check()
                piece = min(2 * piece, PIECE)
        except RemoteError:
            raise
        except Exception as error:  # urllib3's and botocore's have no common base
            raise RemoteError(f"{self.name}: a reply broke off: {type(error).__name__}") from None
        whole = b"".join(parts)
        self.traffic.count(received=len(whole), requests=0)
        return whole

    def _must(self, call: Callable[[Any], T], sent: int = 0) -> T:
        reply = self._ask(call, sent)
        if reply is None:
            raise RemoteError(f"{self.name}: an object went away while it was used")
        return reply

    def _ask(self, call: Callable[[Any], T], sent: int = 0) -> T | None:
        """One request. None: there is no such object. A role that may not list gets "denied" for it."""
        from botocore.exceptions import BotoCoreError, ClientError

        s3 = self._client()
        self.traffic.count(sent=sent)
        try:
            return call(s3)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _GONE:
                return None
            raise self._meaning(code, error) from None
        except BotoCoreError as error:
            raise RemoteError(f"{self.name}: {error}", fatal="redential" in type(error).__name__) from None

    def _meaning(self, code: str, error: Exception) -> RemoteError:
        if code in _TAKEN:
            return _Taken(f"{self.name}: the object exists")
        if code in _BUSY:
            return _Busy(f"{self.name}: another writer is at it")
        if code in _FATAL:
            return RemoteError(f"{self.name}: {_FATAL[code]}", fatal=True)
        if code in _DENIED:
            hint = "see docs/guide/cache.md for what each role needs; without s3:ListBucket a missing object is denied"
            return RemoteError(f"{self.name}: access denied", hint=hint)
        return RemoteError(f"{self.name}: {error}")

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _client(self._address)
            return self._made


class _Taken(RemoteError):
    """The condition of a write did not hold."""


class _Busy(RemoteError):
    """Two conditional writes met; one of them has to be tried again."""


def _client(address: Address) -> Any:
    """A client with boto3's own chain of credentials and regions. Checksums only where they are asked
    for: servers other than AWS refuse the newer ones, and hb checks every byte itself."""
    import boto3
    from botocore.config import Config

    endpoint = address.options.get("endpoint")
    config = Config(
        connect_timeout=min(address.timeout, 3),
        read_timeout=address.timeout,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if endpoint else {},
    )
    session = boto3.session.Session(region_name=address.options.get("region"))
    region = session.region_name or ("us-east-1" if endpoint else None)
    ca = address.options.get("ca")
    try:
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config, verify=ca or None)
    except Exception as error:  # botocore and ValueError: a profile that is not there, a bad endpoint
        raise RemoteError(f"{address}: {error}", fatal=True) from None
