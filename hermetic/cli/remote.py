"""The remote cache of a command: made from the command line, [tool.hb.cache] and [tool.hb.trust].

What a workspace's file names gets no secret from the environment: a pull request may change that file.
Tokens and ``$NAME`` headers go only to a remote that the command line or $HB_REMOTE_CACHE names.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hermetic.cli.streams import say
from hermetic.cli.workspace import checked_size, filled
from hermetic.errors import BuildFileError, CommandLineError, Location, did_you_mean
from hermetic.spans import Spans

if TYPE_CHECKING:
    from hermetic.cli.workspace import Workspace
    from hermetic.digest import Digest
    from hermetic.proto import reapi_pb2 as pb
    from hermetic.store.disk import DiskStore
    from hermetic.store.operation import Resolved
    from hermetic.store.remote.address import Address, Mode
    from hermetic.store.remote.cache import RemoteCache
    from hermetic.store.trust import Policy, Signer

    Results: TypeAlias = Callable[[Digest], pb.ActionResult | None]

VARIABLE = "HB_REMOTE_CACHE"
DOWNLOADS = ("all", "toplevel", "minimal")
MODES = ("read", "write", "read-write", "off")
PROGRESS = 2.0  # seconds between two lines while uploads are waited for
# name → (type, default)
CACHE: Mapping[str, tuple[type, Any]] = {
    "remote": (str, ""),
    "mode": (str, ""),
    "zone": (str, ""),
    "read_zones": (list, ["main"]),
    "download": (str, "toplevel"),
    "signing_key": (str, ""),
    "lease": (bool, False),
    "max_size": (str, ""),  # of the local store
    "keep_days": (int, 0),
}


def add_remote(parser: argparse.ArgumentParser) -> None:
    """Options of verbs that build."""
    group = parser.add_argument_group("remote cache")
    group.add_argument("--remote-cache", metavar="URL", help="s3://…, grpc(s)://… or http(s)://…; empty for none")
    group.add_argument("--cache-mode", choices=MODES, help="what may be done with it (default: what its key allows)")
    group.add_argument("--cache-zone", metavar="ZONE", help="write results to a zone of their own: pr-123")
    group.add_argument("--download", choices=DOWNLOADS, help="which outputs of remote hits are brought here")
    group.add_argument("--trust-policy", metavar="NAME", help="whose results may be read: a key of [tool.hb.trust]")
    group.add_argument("--no-wait-uploads", action="store_true", help="do not wait for uploads at the end")


@contextmanager
def remote_cache(
    found: Workspace, args: argparse.Namespace, disk: DiskStore, cancelled: Callable[[], bool], spans: Spans
) -> Iterator[RemoteCache | None]:
    """The remote in use, or None. At the end uploads are waited for and what was odd is said."""
    cache = _made(found, args, disk, spans)
    if cache is None:
        yield None
        return
    try:
        yield cache
        if not cancelled():
            with spans.span("wait for uploads"):
                _wait(cache, args.no_wait_uploads)
    finally:
        cache.close()
    for line in cache.summary():
        say(line)


def tiered(found: Workspace, args: argparse.Namespace, disk: DiskStore, remote: RemoteCache | None) -> DiskStore:
    """The store of a session: the local one, or the local one with a remote behind it. A policy other than
    the usual one also holds for what came from a remote earlier."""
    if remote is not None:
        from hermetic.store.remote.tiered import TieredStore

        return TieredStore(disk, remote)
    if not found.options["trust"]:
        return disk
    from hermetic.store.remote.tiered import ChoosyStore
    from hermetic.store.trust import DEFAULT

    chosen = policy(found, args, None)
    return disk if chosen.name == DEFAULT else ChoosyStore(disk, chosen)


def results(store: DiskStore) -> Results | None:
    """How results are looked for behind a session's store."""
    return getattr(store, "get_remote", None)


def stays_remote(store: DiskStore, resolved: Resolved) -> bool:
    """Whether --download=minimal leaves a requested output where it is."""
    left: Callable[[Resolved], bool] | None = getattr(store, "stays_remote", None)
    return left is not None and left(resolved)


def _made(found: Workspace, args: argparse.Namespace, disk: DiskStore, spans: Spans) -> RemoteCache | None:
    if not hasattr(args, "remote_cache"):
        return None
    table = cache_table(found)
    flag = args.remote_cache if args.remote_cache is not None else os.environ.get(VARIABLE)
    url = flag if flag is not None else table["remote"]
    if not url:
        return None
    from hermetic.store.remote.address import Mode, connect, parse
    from hermetic.store.remote.address import mode as mode_of
    from hermetic.store.remote.cache import Download, RemoteCache, Terms

    address = parse(url, os.environ if flag is not None else {})
    asked = mode_of(args.cache_mode or table["mode"]) if args.cache_mode or table["mode"] else address.mode
    if asked is Mode.OFF:
        return None
    signer = _signer(table, found.root, asked)
    terms = Terms(
        mode=asked or (Mode.READ_WRITE if signer is not None else Mode.READ),
        policy=policy(found, args, signer),
        signer=signer,
        zones=zones_of(args, table, address),
        download=Download(args.download or table["download"]),
        lease=table["lease"],
        share=getattr(args, "share", False),
    )
    if not terms.policy.keys:
        hint = f'name whose results may be read: [tool.hb.trust] {terms.policy.name} = ["ed25519:…"]'
        raise CommandLineError(f"the trust policy {terms.policy.name!r} has no keys", hint=hint)
    remote = connect(address)
    if spans.heard:
        from hermetic.store.remote.watched import WatchedRemote

        remote = WatchedRemote(remote, spans)
    return RemoteCache(remote, address.identity, disk, terms)


def zones_of(args: argparse.Namespace, table: Mapping[str, Any], address: Address) -> tuple[str, ...]:
    from hermetic.store.remote.address import check_zone
    from hermetic.store.remote.cache import zones
    from hermetic.store.remote.protocol import MAIN

    write = args.cache_zone or address.options.get("zone") or table["zone"] or MAIN
    return zones(check_zone(write), [check_zone(one) for one in table["read_zones"]])


def _signer(table: Mapping[str, Any], root: Path, mode: Mode | None) -> Signer | None:
    """The key results are signed with. A person who has none gets one of their own: a result must be signed,
    and nobody else trusts it until its public half is in [tool.hb.trust]."""
    from hermetic.store import trust

    file = root / Path(table["signing_key"]).expanduser() if table["signing_key"] else None
    own = trust.own_key()
    if mode is not None and not mode.writes and file is not None and not file.exists():
        file = None  # a reader needs no key
    found = trust.find_signer(file, own)
    if found is None and (mode is None or mode.writes):
        pem, public = trust.generate()
        try:
            trust.write_key(own, pem)
        except OSError:
            return None
        say(f"hb: made {own}, your key for signing results; its public half is {public}")
        found = trust.find_signer(None, own)
    return found


def policy(found: Workspace, args: argparse.Namespace, signer: Signer | None) -> Policy:
    """--trust-policy, else the one called like a --config, else ``default``. Your own results are
    trusted by ``default`` only."""
    from hermetic.store import trust

    known: Mapping[str, Any] = found.options["trust"]
    chosen = getattr(args, "trust_policy", None)
    if chosen is not None and chosen not in known and chosen != trust.DEFAULT:
        hint = did_you_mean(chosen, known) or f"[tool.hb.trust] has {', '.join(known) or 'none'}"
        raise CommandLineError(f"there is no trust policy {chosen!r}", hint=hint)
    if chosen is None:
        chosen = next((name for name in reversed(args.config) if name in known), trust.DEFAULT)
    texts, assisted = _said(found, chosen, known.get(chosen, []))
    try:
        keys = [trust.PublicKey.parse(one) for one in texts]
    except CommandLineError as error:
        raise error.at(found.said, f"[tool.hb.trust] {chosen}") from None
    made = replace(trust.Policy.of(chosen, keys), compile_cache=assisted)
    if chosen == trust.DEFAULT and signer is not None:
        made = replace(made, keys={**made.keys, signer.public.id: signer.public})
    return made


def _said(found: Workspace, name: str, value: Any) -> tuple[list[str], bool]:
    """A policy's keys, and whether it takes results made with a compile cache. Raises BuildFileError."""
    from hermetic.store.trust import RELEASE

    table = value if isinstance(value, dict) else {"keys": value}
    texts, assisted = table.get("keys", []), table.get("compile_cache", name != RELEASE)
    good = isinstance(texts, list) and all(isinstance(one, str) for one in texts) and isinstance(assisted, bool)
    if not good or not table.keys() <= {"keys", "compile_cache"}:
        hint = 'write NAME = ["ed25519:…"], or a table with keys = [...] and compile_cache = false'
        raise BuildFileError(f"[tool.hb.trust] {name} is a list of public keys", location=found.said, hint=hint)
    return texts, assisted


def cache_table(found: Workspace) -> dict[str, Any]:
    """[tool.hb.cache], checked, with defaults."""
    full = checked_table(found, "cache", CACHE)
    _one_of("download", full["download"], DOWNLOADS, found.said)
    _one_of("mode", full["mode"] or MODES[0], MODES, found.said)
    if full["max_size"]:
        checked_size("tool.hb.cache", "max_size", full["max_size"], found.said)
    return full


def checked_table(found: Workspace, title: str, known: Mapping[str, tuple[type, Any]]) -> dict[str, Any]:
    """[tool.hb.TITLE] with defaults. ``known``: name → (type, default). Raises BuildFileError."""
    return filled(f"tool.hb.{title}", found.options[title], known, found.said)


def _one_of(name: str, value: str, known: Sequence[str], where: Location) -> None:
    if value not in known:
        hint = did_you_mean(value, known) or f"one of {', '.join(known)}"
        raise BuildFileError(f"option {name!r} in [tool.hb.cache] cannot be {value!r}", location=where, hint=hint)


def tidy(found: Workspace, disk: DiskStore) -> None:
    """After a build: keep the local store's quota, when there is one."""
    table = cache_table(found)
    if table["max_size"] or table["keep_days"]:
        from hermetic.cli.tidy import after_build

        after_build(disk, table)


def _wait(cache: RemoteCache, leave: bool) -> None:
    uploads = cache.uploads
    if uploads is None or not uploads.waiting:
        return
    if leave:
        say(f"hb: {uploads.waiting} results are not written to the remote cache (--no-wait-uploads)")
        return
    while not uploads.wait(PROGRESS):
        say(f"hb: writing to the remote cache, {uploads.waiting} results to go")
