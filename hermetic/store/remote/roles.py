"""Who may do what in a bucket: the policy of each role, for one bucket and prefix.

Guarantees: a policy allows what hb does in that role and nothing else: a pull request neither reads nor writes the zone
of another one, only the collector deletes, and only what is read can be listed. No part of a bucket's name or prefix
acts as a wildcard, nor of a zone but a ``*`` at its end that was asked for. Pure: nothing is contacted.

A policy of IAM is attached to a user or role; the one of the bucket itself forbids everybody to overwrite.

Sources: IAM's JSON policy reference; "Actions, resources, and condition keys for Amazon S3"; the S3 user guide on
enforcing conditional writes. An object that is not there counts for ``s3:prefix`` as a listing of its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hermetic.errors import CommandLineError
from hermetic.store.remote.address import Address, check_zone
from hermetic.store.remote.protocol import MAIN

Policy = dict[str, Any]  # as JSON

ARCHES = ("amd64", "arm64")  # whose compiled objects are kept apart
COMPILED = "sccache"  # beside hb's own, see docs/guide/compile-cache.md
PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}  # by the beginning of a region
WILD = frozenset("*?$")  # what IAM reads as a pattern or a variable


class Role(StrEnum):
    LAPTOP = "laptop"  # reads the zone main
    CI = "ci"  # a protected branch: reads and writes the zone main
    PULL_REQUEST = "pull-request"  # reads main, reads and writes a zone of its own
    RELEASE = "release"  # reads the zone main
    COLLECTOR = "collector"  # makes room: hb cache gc --remote


@dataclass(frozen=True)
class Grant:
    """Patterns of names below the bucket's prefix. ``lists``: when more may be listed than is read."""

    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


def grant(role: Role, zone: str = MAIN, *, lease: bool = False, compiled: bool = False) -> Grant:
    """``zone``: of a pull request. ``lease``: for a laptop whose use counts. ``compiled``: with the compile cache.
    Raises CommandLineError for what does not fit the role."""
    _check(role, zone, lease, compiled)
    if role is Role.COLLECTOR:
        everything = _hb(("ac", "cas", "leases", "condemned"))
        return Grant(everything, ("hb/condemned/*",), deletes=("hb/*",), lists=("hb/*",))
    zones = tuple(dict.fromkeys((MAIN, zone)))
    reads = tuple(name for one in zones for name in (*_hb(("ac", "cas"), one), *(_compiled(one) if compiled else ())))
    if role in (Role.LAPTOP, Role.RELEASE):
        return Grant(reads, _hb(("leases",), MAIN) if lease else ())
    writes = _hb(("ac", "cas", "conflict", "leases"), zone) + (_compiled(zone) if compiled else ())
    return Grant((*reads, *_hb(("condemned",))), writes)


def role_policy(address: Address, given: Grant) -> Policy:
    """For a user or role of IAM. Raises CommandLineError for a name that would be a pattern."""
    listed = [_name(address, one) for one in given.lists or given.reads]
    statements: list[Policy] = [
        {
            "Sid": "ListWhatIsRead",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": _arn(address),
            "Condition": {"StringLike": {"s3:prefix": listed}},
        },
        _allow("Read", ["s3:GetObject"], address, given.reads),
    ]
    if given.writes:
        statements.append(_allow("Write", ["s3:PutObject", "s3:AbortMultipartUpload"], address, given.writes))
    if given.deletes:
        statements.append(_allow("Delete", ["s3:DeleteObject"], address, given.deletes))
    return {"Version": "2012-10-17", "Statement": statements}


def bucket_policy(address: Address) -> Policy:
    """For the bucket: what has a name keeps its content, whoever asks. Parts of a multipart upload are exempt,
    because only the request that puts them together can have a condition."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "WritesAreConditional",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": _arn(address, "hb/*"),
                "Condition": {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}},
            }
        ],
    }


def _check(role: Role, zone: str, lease: bool, compiled: bool) -> None:
    if role is Role.PULL_REQUEST:
        stem = zone.removesuffix("*")
        check_zone(stem)
        if zone == MAIN or (stem != zone and MAIN.startswith(stem)):
            hint = "a zone of its own: --zone pr-123, or --zone 'pr-*' for one role of all pull requests"
            raise CommandLineError(f"a pull request does not write to the zone {MAIN}", hint=hint)
    elif zone != MAIN:
        raise CommandLineError(f"the role {role} has no zone of its own", hint="--role pull-request --zone pr-123")
    if lease and role is not Role.LAPTOP:
        raise CommandLineError(f"the role {role} has no --lease", hint="it is for laptops; CI writes leases anyway")
    if compiled and role in (Role.RELEASE, Role.COLLECTOR):
        raise CommandLineError(f"the role {role} has no use for compiled objects", hint="leave the option out")


def _hb(kinds: Iterable[str], zone: str = "") -> tuple[str, ...]:
    return tuple("/".join(filter(None, ("hb", kind, zone, "*"))) for kind in kinds)


def _compiled(zone: str) -> tuple[str, ...]:
    own = "" if zone == MAIN else zone
    return tuple("/".join(filter(None, (COMPILED, own, arch, "*"))) for arch in ARCHES)


def _allow(sid: str, actions: list[str], address: Address, names: Iterable[str]) -> Policy:
    resources = [_arn(address, name) for name in names]
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _arn(address: Address, name: str = "") -> str:
    region = address.options.get("region", "")
    partition = next((value for start, value in PARTITIONS.items() if region.startswith(start)), "aws")
    return f"arn:{partition}:s3:::" + "/".join(filter(None, (address.host, name and _name(address, name))))


def _name(address: Address, name: str) -> str:
    if WILD.intersection(address.host + address.path):
        hint = "choose a prefix of letters, digits and -._/"
        raise CommandLineError(f"{address} holds what a policy reads as a pattern", hint=hint)
    return "/".join(filter(None, (address.path, name)))
