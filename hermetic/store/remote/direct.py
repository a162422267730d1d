"""GET and HEAD requests to a bucket without botocore's machinery, which takes longer than the rest of a hit.

Guarantees: nothing is guessed. Where objects are and how requests are signed is taken from a request that botocore made
and the server answered; the signature itself is botocore's. Whatever is not a plain answer is ``Unsure``: botocore is
asked then, and says what it means, tries again or follows the bucket to its region.

Source: the S3 API reference (GetObject, error responses), botocore's ``S3SigV4Auth``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hermetic.store.remote.wire import Lost, Wire

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from urllib3 import BaseHTTPResponse

_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/s3/aws4_request,")
_ABSENT = b"<Code>NoSuchKey</Code>"


class Unsure(Exception):
    """botocore has to be asked."""


@dataclass(frozen=True)
class _Learnt:
    base: str  # URL that names are appended to
    region: str


class Direct:
    def __init__(self, wire: Wire, credentials: Any) -> None:
        self._wire = wire
        self._credentials = credentials  # botocore's, which renew themselves
        self._learnt: dict[str, _Learnt] = {}  # by bucket
        self._asked = threading.local()

    @contextmanager
    def lesson(self, bucket: str, place: str) -> Iterator[None]:
        """botocore is asked for an object by this thread."""
        self._asked.about = bucket, quoted(place)
        try:
            yield
        finally:
            self._asked.about = None

    def learn(self, request: AWSPreparedRequest) -> None:
        """From a request of botocore's that the server answered."""
        about = getattr(self._asked, "about", None)
        signed = _SIGNED.match(text(request.headers.get("Authorization", "")))
        url = request.url.partition("?")[0]
        if about and signed and url.endswith(f"/{about[1]}"):
            self._learnt[about[0]] = _Learnt(url.removesuffix(about[1]), signed[1])

    def ask(self, method: str, bucket: str, place: str, headers: Mapping[str, str]) -> BaseHTTPResponse | None:
        """An object's answer, its body unread; None: there is none. Raises Unsure, RemoteError."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        learnt = self._learnt.get(bucket)
        if learnt is None or self._credentials is None:
            raise Unsure
        request = AWSRequest(method, learnt.base + quoted(place), headers=dict(headers))
        try:
            S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", learnt.region).add_auth(request)
            reply = self._wire.ask(method, request.url, {name: text(one) for name, one in request.headers.items()})
        except (BotoCoreError, Lost):
            raise Unsure from None
        if reply.status in (200, 206):
            return reply
        said = self._wire.finish(reply)
        if reply.status == 404 and (_ABSENT in said or method == "HEAD"):
            return None
        self._learnt.pop(bucket, None)
        raise Unsure


def quoted(place: str) -> str:
    return quote(place, safe="/~")


def text(value: str | bytes) -> str:
    """A header's value."""
    return value.decode("latin-1") if isinstance(value, bytes) else value
