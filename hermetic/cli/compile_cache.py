"""--compile-cache and [tool.hb.compile-cache]: whether a build has a compile cache, and where that keeps what.

Guarantees: what cannot work is said before anything runs. A trust policy that refuses results made with one
(``release`` does unless it says otherwise) and ``--compile-cache`` exclude each other; where only the table
switches it on, such a policy switches it off.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermetic.cli.remote import cache_table, checked_table, policy, zones_of
from hermetic.cli.streams import say
from hermetic.cli.workspace import checked_size
from hermetic.errors import CommandLineError

if TYPE_CHECKING:
    from hermetic.cli.workspace import Workspace
    from hermetic.execution.compile_cache import CompileCache
    from hermetic.execution.outcome import BuildResult
    from hermetic.store.compile.bucket import Bucket
    from hermetic.store.compile.tiers import Tiers
    from hermetic.store.disk import DiskStore
    from hermetic.store.remote.address import Address
    from hermetic.store.remote.cache import RemoteCache

ON, OFF = "on", "off"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# name → (type, default)
TABLE: Mapping[str, tuple[type, Any]] = {
    "enabled": (bool, False),
    "tool": (str, "//toolchains:sccache"),
    "bucket": (str, ""),
    "region": (str, ""),
    "endpoint": (str, ""),
    "prefix": (str, ""),
    "max_size": (str, "10G"),
}


def add_compile_cache(parser: argparse.ArgumentParser) -> None:
    """Options of verbs that build. The value is joined with "=", see ``hermetic.cli.options``."""
    group = parser.add_argument_group("compile cache")
    about = "compile with sccache; with a URL, s3://bucket/prefix?region=…, in a bucket of its own"
    group.add_argument("--compile-cache", metavar="[=URL]", help=about)
    group.add_argument(
        "--no-compile-cache", dest="compile_cache", action="store_const", const=OFF, help="compile without it"
    )


@dataclass(frozen=True)
class Choice:
    """``everywhere``: for all that can use it. ``address``: a bucket of its own, or None."""

    everywhere: bool
    tool: str
    limit: int
    address: Address | None


def choose(found: Workspace, args: argparse.Namespace) -> Choice | None:
    """What was asked for; None when it is switched off or the policy refuses it. Raises CommandLineError."""
    table = checked_table(found, "compile-cache", TABLE)
    flag = getattr(args, "compile_cache", None)
    limit = checked_size("tool.hb.compile-cache", "max_size", table["max_size"], found.said)
    address = None if flag == OFF else _address(flag, table)
    if flag == OFF or not hasattr(args, "compile_cache"):
        return None
    if refused := _refusal(found, args):
        if flag is None:
            return None
        hint = f"leave --compile-cache out, or say compile_cache = true in [tool.hb.trust.{refused}]"
        raise CommandLineError(f"the trust policy {refused!r} refuses what a compile cache made", hint=hint)
    return Choice(flag is not None or table["enabled"], table["tool"], limit, address)


def _refusal(found: Workspace, args: argparse.Namespace) -> str:
    """The name of a policy in force that refuses, or ""."""
    from hermetic.store.trust import RELEASE

    chosen = policy(found, args, None)
    if not chosen.compile_cache:
        return chosen.name
    known = RELEASE in found.options["trust"]
    return RELEASE if RELEASE in getattr(args, "config", ()) and not known else ""


def _address(flag: str | None, table: Mapping[str, Any]) -> Address | None:
    """The bucket of its own. Raises CommandLineError when it is not all said."""
    from hermetic.store.remote.address import Address, check_endpoint, parse

    if flag not in (None, ON):
        address = parse(flag)
        if address.scheme != "s3":
            raise CommandLineError(f"a compile cache cannot be at {address}", hint="write s3://bucket/prefix?region=…")
        what = f"--compile-cache={address}"
    elif table["bucket"]:
        check_endpoint(table["endpoint"])
        options = {name: table[name] for name in ("region", "endpoint") if table[name]}
        address = Address("s3", table["bucket"], table["prefix"].strip("/"), options)
        what = "[tool.hb.compile-cache]"
    else:
        stray = next((name for name in ("region", "endpoint", "prefix") if table[name]), "")
        if stray:
            hint = 'say bucket = "NAME" beside it'
            raise CommandLineError(f"[tool.hb.compile-cache] has a {stray} and no bucket", hint=hint)
        return None
    if not any((address.options.get("region"), address.options.get("endpoint"), *map(os.environ.get, REGIONS))):
        raise CommandLineError(f"{what} names no region", hint="say region=… in it, or set AWS_REGION")
    return address


@contextmanager
def compile_cache(
    found: Workspace,
    args: argparse.Namespace,
    disk: DiskStore,
    remote: RemoteCache | None,
    tool: Callable[[str], Path],
    cancelled: Callable[[], bool],
) -> Iterator[CompileCache | None]:
    """The compile cache in use, or None. ``tool``: builds the target and gives the staged tree. At the end
    what was compiled is sent, and what was odd is said."""
    choice = choose(found, args)
    if choice is None:
        yield None
        return
    from functools import cache

    from hermetic.execution.compile_cache import CompileCache

    with ExitStack() as stack:

        @cache
        def tiers() -> Tiers:
            made = _tiers(found, args, disk, remote, choice)
            stack.callback(lambda: _close(made, disk, choice.limit, wait=not (args.no_wait_uploads or cancelled())))
            return made

        yield CompileCache(lambda: tool(choice.tool), tiers, lambda text: say(f"hb: {text}"), choice.everywhere)


def compiled_line(result: BuildResult) -> str:
    """What compile caches did in a build, or "" where there were none."""
    from hermetic.execution.compile_counts import total
    from hermetic.execution.recording import compiled_in

    counts = compiled_in(result.finished.values())
    return str(total(counts.values())) if counts else ""


def _close(tiers: Tiers, disk: DiskStore, limit: int, *, wait: bool) -> None:
    from hermetic.store.compile.objects import sweep

    left = tiers.waiting()
    if left and not wait:
        say(f"hb: {left} compiled objects are not written to the bucket")
    tiers.close(wait=wait)
    if tiers.problem:
        say(f"hb: the compile cache does without {tiers.problem}")
    sweep(disk.root / "compile", limit)


def _tiers(
    found: Workspace, args: argparse.Namespace, disk: DiskStore, remote: RemoteCache | None, choice: Choice
) -> Tiers:
    from hermetic.store.compile.objects import Objects
    from hermetic.store.compile.tiers import Tiers, tier_folder

    arch = found.exec_platform.removeprefix("linux-")
    bucket = _bucket(found, args, remote, choice, arch)
    origin = f"{bucket.name} {bucket.reads} {bucket.writes}" if bucket is not None else arch
    return Tiers(Objects(tier_folder(disk.root, origin)), bucket)


def _bucket(
    found: Workspace, args: argparse.Namespace, remote: RemoteCache | None, choice: Choice, arch: str
) -> Bucket | None:
    """The bucket of its own, or a folder in that of the remote cache. Zones are the remote cache's."""
    from hermetic.store.compile.bucket import Bucket
    from hermetic.store.remote.address import Mode
    from hermetic.store.remote.protocol import MAIN
    from hermetic.store.remote.roles import COMPILED
    from hermetic.store.remote.s3 import S3Remote

    if choice.address is not None:
        address, top, mode = choice.address, choice.address.path, choice.address.mode or Mode.READ_WRITE
        zones = zones_of(args, cache_table(found), address)
    elif remote is not None and isinstance(remote.remote, S3Remote):
        address, mode, zones = remote.remote.address, remote.terms.mode, remote.terms.zones
        top = "/".join(filter(None, (address.path, COMPILED)))
    else:
        return None
    places = ["/".join(filter(None, (top, "" if zone == MAIN else zone, arch))) for zone in zones]
    if mode is Mode.OFF:
        return None
    return Bucket(address, places if mode.reads else [], places[0] if mode.writes else "")
