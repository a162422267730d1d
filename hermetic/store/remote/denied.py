"""What a refused request to a bucket lacked: the permission and where, so that a role can be mended.

Guarantees: the text names a folder and not the object, so that many refusals of one kind are one line for a user.

Sources: "Actions, resources, and condition keys for Amazon S3" (which permission an operation needs); botocore's events
``before-parameter-build`` and ``after-call``, which share one context per request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermetic.store.remote.address import Address
from hermetic.store.remote.protocol import RemoteError

NEEDS = {
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "DeleteObjects": "s3:DeleteObject",
}  # the others need what they are called
_ABOUT = "hb_about"


def note_names(events: Any) -> None:
    """From now on errors of this client say what was asked about; the servers' own seldom do."""
    events.register("before-parameter-build.s3", _before)
    events.register("after-call.s3", _after)


class Denied(RemoteError):
    """The credentials do not allow it."""


def denied(address: Address, operation: str, error: Mapping[str, Any]) -> Denied:
    """``error``: what the reply says of it."""
    needed = NEEDS.get(operation, f"s3:{operation}")
    where = _folder(address, str(error.get(_ABOUT) or error.get("Key", "")))
    at = f" on {where}/*" if where else ""
    hint = f"hb cache policy {address} --role … prints what each role needs, see docs/guide/cache.md"
    if needed == "s3:GetObject":
        hint += "; without s3:ListBucket a missing object is denied as well"
    return Denied(f"{address}: access denied: these credentials lack {needed}{at}", hint=hint)


def _folder(address: Address, name: str) -> str:
    """hb/ac/main of a result, sccache/amd64 of a compiled object."""
    parts = name.removeprefix(f"{address.path}/" if address.path else "").split("/")
    depth = 3 if parts[0] == "hb" else 2
    return "/".join(parts[: min(depth, len(parts) - 1)])


def _before(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_ABOUT] = params.get("Key") or params.get("Prefix", "")


def _after(parsed: dict[str, Any], context: Mapping[str, Any], **_: Any) -> None:
    if "Error" in parsed:
        parsed["Error"][_ABOUT] = context.get(_ABOUT, "")
