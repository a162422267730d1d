"""Results made with a compile cache: kept apart from all others, twice.

Guarantees: such a result lies under a key of its own, derived from the action's, so a build without a
compile cache never asks for it; and it carries a mark, so a reader refuses one that somebody put under an
action's own key. A result without the mark under a derived key is refused too.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from google.protobuf.message import DecodeError

from hermetic.digest import Digest
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb

DOMAIN = b"hb: made with a compile cache\0"  # no Action message begins so


def assisted_key(key: Digest) -> Digest:
    """Where the result of an action lies that was made with a compile cache."""
    return Digest(hashlib.sha256(DOMAIN + key.hash.encode()).hexdigest(), key.size)


def mark_of(result: pb.ActionResult) -> hb_pb2.CompileCache | None:
    """What a result says of the compile cache it was made with; None for one made without."""
    mark = hb_pb2.CompileCache()
    for one in result.execution_metadata.auxiliary_metadata:
        if one.Is(mark.DESCRIPTOR):
            with suppress(DecodeError):  # that it is there says enough
                one.Unpack(mark)
            return mark
    return None


def mark(result: pb.ActionResult, what: hb_pb2.CompileCache) -> None:
    result.execution_metadata.auxiliary_metadata.add().Pack(what)


def admissible(result: pb.ActionResult, *, assisted: bool) -> bool:
    """Whether a result may be read where results made with a compile cache are ``assisted``, wanted, or not.
    What audits a build reads with ``assisted=False``."""
    return (mark_of(result) is not None) == assisted
