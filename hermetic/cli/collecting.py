"""``hb cache gc --remote``: making room in a bucket."""

from __future__ import annotations

from hermetic.cli.streams import say
from hermetic.cli.tidy import size_of
from hermetic.errors import CommandLineError
from hermetic.sizes import show_size

KEEP_DAYS = 14.0
GRACE_HOURS = 24.0


def collect_remote(
    url: str, max_size: str | None, keep_days: float | None, grace_hours: float | None, *, dry_run: bool
) -> int:
    """Raises RemoteError when the bucket cannot be reached or does not allow it."""
    from hermetic.store.remote.address import connect, parse
    from hermetic.store.remote.collect import Collector, Limits

    days = KEEP_DAYS if keep_days is None else keep_days
    hours = GRACE_HOURS if grace_hours is None else grace_hours
    if days < 0 or hours < 0:
        raise CommandLineError(f"{min(days, hours)} is not a length of time", hint="--keep-days 14 --grace-hours 24")
    remote = connect(parse(url))
    if remote.bucket is None:
        hint = "a REAPI server makes room itself; for a folder behind HTTP delete what is old"
        raise CommandLineError("only buckets (s3://…) are collected", hint=hint)
    limits = Limits(days * 86400.0, size_of(max_size) if max_size else None, hours * 3600.0)
    done = Collector(remote.bucket, limits, dry_run=dry_run).run()
    would = "would remove" if dry_run else "removed"
    gone, left = show_size(done.size), show_size(done.left)
    say(f"hb: {would} {done.results} results and {done.blobs} blobs, {gone}; {left} stay")
    if done.broken:
        say(f"hb: {done.broken} of the results could not be used any more: blobs of them were gone")
    if done.waiting:
        say(f"hb: {done.waiting} blobs go when the builds that write now have ended: run it again then")
    for zone in sorted(done.newer):
        say(f"hb: the zone {zone} holds results of a newer hb, its blobs stay")
    remote.close()
    return 0
