"""The S3 service behind an address: boto3 knows it, the bytes travel over a wire of ours.

Guarantees: credentials, regions, endpoints and signatures are boto3's own, and so is what an answer means. Only the
sending is not: botocore has one time-out per client, and applies the one for connecting to a whole body. A request
that got no answer in time is not tried again, one whose connection broke is, once.

Sources: botocore's event ``before-send`` (a handler's answer takes the place of botocore's own sending),
``AWSResponse``.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hermetic.store.remote.address import Address
from hermetic.store.remote.denied import note_names
from hermetic.store.remote.direct import Direct, Unsure, text
from hermetic.store.remote.flow import PART, Pace
from hermetic.store.remote.protocol import RemoteError, Traffic
from hermetic.store.remote.wire import Body, Lost, Wire

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

LISTING = 64 << 20  # bytes of an answer that is a document; a thousand objects need about one megabyte


_ASSEMBLES = ".CompleteMultipartUpload"  # few words, much to do
_HEADERS = {"Range": "Range", "IfMatch": "If-Match"}  # of parameters of GetObject


@dataclass(frozen=True)
class Content:
    """What a bucket answers for an object."""

    body: Body
    headers: Mapping[str, str]  # whatever the case of their names

    @property
    def length(self) -> int:
        """Bytes of the body."""
        found = self.headers.get("Content-Length", "")
        return int(found) if found.isdecimal() else 0

    @property
    def whole(self) -> int:
        """Bytes of the whole object, of which this is a part."""
        found = re.fullmatch(r"bytes \d+-\d+/(\d+)", self.headers.get("Content-Range", ""))
        return int(found[1]) if found else self.length

    @property
    def tag(self) -> str:
        return self.headers.get("ETag", "")


@dataclass(frozen=True)
class Service:
    client: Any  # boto3's
    wire: Wire
    direct: Direct

    def get(self, bucket: str, place: str, **parameters: str) -> Content | None:
        """An object, or a part of it; None: there is none. ``parameters``: of GetObject. Raises botocore's errors,
        RemoteError."""
        from urllib3 import HTTPHeaderDict

        try:
            headers = {_HEADERS[name]: value for name, value in parameters.items()}
            answer = self.direct.ask("GET", bucket, place, headers)
            return None if answer is None else Content(answer, answer.headers)
        except Unsure:
            with self.direct.lesson(bucket, place):
                reply = self.client.get_object(Bucket=bucket, Key=place, **parameters)
            return Content(reply["Body"], HTTPHeaderDict(reply["ResponseMetadata"]["HTTPHeaders"]))

    def head(self, bucket: str, place: str) -> bool:
        """Whether there is an object."""
        try:
            answer = self.direct.ask("HEAD", bucket, place, {})
            if answer is not None:
                self.wire.finish(answer)
            return answer is not None
        except Unsure:
            with self.direct.lesson(bucket, place):
                self.client.head_object(Bucket=bucket, Key=place)
            return True

    def close(self) -> None:
        self.client.close()
        self.wire.close()


def connect(address: Address, pace: Pace, traffic: Traffic) -> Service:
    """Checksums only where they are asked for: servers other than AWS refuse the newer ones, and hb checks every byte
    itself."""
    import boto3
    import botocore.session
    from botocore.config import Config

    endpoint = address.options.get("endpoint")
    config = Config(
        retries={"total_max_attempts": 2, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if endpoint else {},
    )
    try:
        core = botocore.session.get_session()
        session = boto3.session.Session(region_name=address.options.get("region"), botocore_session=core)
        region = session.region_name or ("us-east-1" if endpoint else None)
        client = session.client("s3", endpoint_url=endpoint, region_name=region, config=config)
        ca = address.options.get("ca") or core.get_config_variable("ca_bundle")
        wire = Wire(str(address), pace, traffic, proxy=_proxy(client.meta.endpoint_url), ca_certs=_authorities(ca))
    except Exception as error:  # botocore and ValueError: a profile that is not there, a bad endpoint
        raise RemoteError(f"{address}: {error}", fatal=True) from None
    note_names(client.meta.events)
    direct = Direct(wire, core.get_credentials())
    client.meta.events.register("before-send.s3", _Transport(wire, direct))
    return Service(client, wire, direct)


def _proxy(url: str) -> str | None:
    from botocore.utils import get_environ_proxies

    found: str | None = get_environ_proxies(url).get(url.partition(":")[0])
    return found


def _authorities(ca: str | None) -> str:
    """As botocore finds them, which brings its own where nobody names any."""
    from botocore.httpsession import get_cert_path

    return str(get_cert_path(ca or os.environ.get("REQUESTS_CA_BUNDLE") or True))


class _Transport:
    """Sends what botocore has signed."""

    def __init__(self, wire: Wire, direct: Direct) -> None:
        self._wire = wire
        self._direct = direct

    def __call__(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        from botocore.awsrequest import AWSResponse
        from botocore.exceptions import HTTPClientError

        headers = {name: text(value) for name, value in request.headers.items()}
        try:
            size = PART if event_name.endswith(_ASSEMBLES) else int(headers.get("Content-Length", 0))
            reply = self._wire.ask(request.method, request.url, headers, request.body, size=size)
        except Lost as error:
            raise HTTPClientError(error=error) from None  # which botocore tries again
        if reply.status in (200, 206, 404):
            self._direct.learn(request)
        content = request.stream_output and reply.status < 300
        raw = reply if content else _Read(b"".join(self._wire.pieces(reply, LISTING)))
        return AWSResponse(request.url, reply.status, reply.headers, raw)


class _Read(io.BytesIO):
    """A body that was read, as botocore wants it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()
