"""Whether the credentials in force may do what a role does, and nothing else: asked of the bucket itself.

Guarantees: nothing that anybody made is read, changed or deleted, whatever the credentials allow: every name is new and
random, writing is tried by beginning an upload that is given up, overwriting under a condition that cannot hold.

What cannot be seen: objects that may be read though their names may not be listed. S3 gives one answer for an object
that is not there and for one that may not be read.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import partial
from string import ascii_lowercase, digits

from hermetic.store.remote.bucket import Bucket
from hermetic.store.remote.denied import Denied
from hermetic.store.remote.protocol import MAIN
from hermetic.store.remote.roles import ARCHES, COMPILED, Grant

ALNUM = ascii_lowercase + digits
WIDTH = 8  # requests at the same time


class Verdict(StrEnum):
    RIGHT = "right"
    LACKING = "lacking"  # the role needs it
    TOO_MUCH = "too much"  # the role must not


@dataclass(frozen=True)
class Finding:
    """``where``: a folder below the bucket's prefix; ``../…`` is beside it, ``…`` a name nobody has."""

    verdict: Verdict
    action: str
    where: str


@dataclass(frozen=True)
class _Try:
    action: str
    where: str
    expected: bool
    attempt: Callable[[], object]


def probe(bucket: Bucket, given: Grant, zone: str = MAIN) -> list[Finding]:
    """``zone``: the one the role writes to. Raises RemoteError when the bucket gives no answer."""
    with ThreadPoolExecutor(WIDTH) as pool:
        return list(pool.map(_judge, _tries(bucket, given, zone)))


def _judge(one: _Try) -> Finding:
    try:
        one.attempt()
        allowed = True
    except Denied:
        allowed = False
    wrong = Verdict.TOO_MUCH if allowed else Verdict.LACKING
    return Finding(Verdict.RIGHT if allowed == one.expected else wrong, one.action, one.where)


def _tries(bucket: Bucket, given: Grant, zone: str) -> Iterator[_Try]:
    new = f"probe-{uuid.uuid4().hex}"
    prefix = bucket.address.path
    folders = {one: "/".join(filter(None, (prefix, one))) for one in _folders(zone, new)}
    for folder, place in {**folders, "../" + new: prefix + new}.items():
        name = f"{place}/00/{new}"

        def may(patterns: Iterable[str], folder: str = folder) -> bool:
            return any(fnmatchcase(f"{folder}/00/{new}", pattern) for pattern in patterns)

        shown, writes = folder.replace(new, "…"), may(given.writes)
        yield _Try("list", shown, may(given.lists or given.reads), partial(_list, bucket, f"{place}/"))
        yield _Try("read", shown, may(given.reads), partial(bucket.exists, name))
        yield _Try("write", shown, writes, partial(bucket.begin_and_abort, name))
        yield _Try("delete", shown, may(given.deletes), partial(bucket.delete, [name]))
        if writes and folder.startswith("hb/"):
            yield _Try("overwrite", shown, False, partial(bucket.overwrite_nothing, name))


def _folders(zone: str, new: str) -> Iterator[str]:
    """Where hb keeps things, for the zones in question and some that nobody has. Of these, one begins as the role's
    does and one as all of its kind do: a pattern may be too wide."""
    kin = (zone + new, zone.rstrip(ALNUM) + new) if not zone.endswith("*") else ()
    for one in dict.fromkeys((MAIN, zone.replace("*", new), MAIN + new, new, *kin)):
        yield from (f"hb/{kind}/{one}" for kind in ("ac", "cas", "conflict", "leases"))
        yield from ("/".join((COMPILED, *(() if one == MAIN else (one,)), arch)) for arch in ARCHES)
    yield from ("hb/condemned", f"hb/{new}")


def _list(bucket: Bucket, prefix: str) -> None:
    next(bucket.listing(prefix), None)
