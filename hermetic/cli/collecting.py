"""``hb cache gc --remote``: making room in a bucket."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from hermetic.cli.streams import say
from hermetic.cli.tidy import size_of
from hermetic.errors import CommandLineError
from hermetic.sizes import show_size

KEEP_DAYS = 14.0
GRACE_HOURS = 24.0


def collect_remote(args: argparse.Namespace) -> int:
    """Raises RemoteError when the bucket cannot be reached or does not allow it."""
    from hermetic.store.remote.address import connect, parse
    from hermetic.store.remote.collect import Collector, Limits
    from hermetic.store.remote.readings import Readings

    days = KEEP_DAYS if args.keep_days is None else args.keep_days
    hours = GRACE_HOURS if args.grace_hours is None else args.grace_hours
    if days < 0 or hours < 0:
        raise CommandLineError(f"{min(days, hours)} is not a length of time", hint="--keep-days 14 --grace-hours 24")
    remote = connect(parse(args.remote))
    if remote.bucket is None:
        hint = "a REAPI server makes room itself; for a folder behind HTTP delete what is old"
        raise CommandLineError("only buckets (s3://…) are collected", hint=hint)
    limits = Limits(days * 86400.0, size_of(args.max_size) if args.max_size else None, hours * 3600.0)
    readings = Readings.at(_memory(args, remote.bucket.address.identity))
    done = Collector(remote.bucket, limits, dry_run=args.dry_run, readings=readings).run()
    would = "would remove" if args.dry_run else "removed"
    gone, left = show_size(done.size), show_size(done.left)
    say(f"hb: read {done.read} results that were not known from an earlier run")
    say(f"hb: {would} {done.results} results and {done.blobs} blobs, {gone}; {left} stay")
    if done.broken:
        say(f"hb: {done.broken} of the results could not be used any more: blobs of them were gone")
    if done.waiting:
        say(f"hb: {done.waiting} blobs go when the builds that write now have ended: run it again then")
    for zone in sorted(done.newer):
        say(f"hb: the zone {zone} holds results of a newer hb, its blobs stay")
    remote.close()
    return 0


def _memory(args: argparse.Namespace, identity: str) -> Path:
    """Where the store keeps what was read of a bucket. A collector needs no workspace."""
    from hermetic.cli import workspace

    try:
        store = workspace.find(Path.cwd(), args.config, args.set).store_path(args.store)
    except CommandLineError:
        store = workspace.store_path(args.store)
    return store / "collector" / hashlib.sha256(identity.encode()).hexdigest()[:16]
