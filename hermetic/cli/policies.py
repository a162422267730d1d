"""``hb cache policy``: who may do what in a bucket, as the JSON that the bucket's server reads; and whether a bucket
keeps to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hermetic.cli.options import Parser
from hermetic.cli.streams import say
from hermetic.errors import CommandLineError

if TYPE_CHECKING:
    from hermetic.store.remote.address import Address
    from hermetic.store.remote.roles import Grant


def main(words: Sequence[str]) -> int:
    from hermetic.store.remote.address import parse
    from hermetic.store.remote.protocol import MAIN
    from hermetic.store.remote.roles import Role, bucket_policy, grant, role_policy

    about = (
        "Print the policy of a role for your bucket and prefix, to be attached to the role or user that has it.\n"
        "Without --role: the policy of the bucket itself, which forbids everybody to overwrite. Contacts nothing.\n"
        "With --check: ask the bucket whether the credentials in force may do what the role does, and nothing else."
    )
    parser = Parser(
        "cache policy", about, "hb cache policy s3://our-bucket/builds --role pull-request --zone pr-123 > policy.json"
    )
    parser.add_argument("url", help="s3://bucket/prefix, as for --remote-cache")
    parser.add_argument("--role", choices=[str(role) for role in Role], help="who it is for")
    parser.add_argument("--zone", help="pull-request: pr-123 for one, 'pr-*' for a role that all of them share")
    parser.add_argument("--lease", action="store_true", help="laptop: for `lease = true`, what is used stays")
    parser.add_argument("--with-compile-cache", action="store_true", help="also its objects in the same bucket")
    parser.add_argument("--check", action="store_true", help="ask the bucket; leaves nothing there")
    args = parser.parse(words)
    address = parse(args.url)
    if address.scheme != "s3":
        hint = "other remotes decide by other means who may write, see docs/guide/cache.md"
        raise CommandLineError(f"{address} is no bucket", hint=hint)
    zone = args.zone or address.options.get("zone", MAIN)
    if args.role is None:
        if args.zone or args.lease or args.with_compile_cache or args.check:
            raise CommandLineError("the policy of the bucket itself has no options", hint="say --role")
        made = bucket_policy(address)
    else:
        given = grant(Role(args.role), zone, lease=args.lease, compiled=args.with_compile_cache)
        if args.check:
            return _check(address, given, zone)
        made = role_policy(address, given)
    print(json.dumps(made, indent=2))
    return 0


def _check(address: Address, given: Grant, zone: str) -> int:
    """Raises RemoteError when the bucket gives no answer."""
    from hermetic.store.remote.bucket import Bucket
    from hermetic.store.remote.probe import Verdict, probe
    from hermetic.store.remote.protocol import Traffic

    bucket = Bucket(address, Traffic())
    try:
        found = probe(bucket, given, zone)
    finally:
        bucket.close()
    wrong = [one for one in found if one.verdict is not Verdict.RIGHT]
    for one in wrong:
        print(f"{one.verdict}\t{one.action}\t{one.where}")
    say(f"hb: {len(found)} things tried, {len(found) - len(wrong)} are as the role has them")
    if any(one.action == "overwrite" for one in wrong):
        say(
            f"  → hb cache policy {address} prints the bucket's own policy; some servers do not know its condition keys"
        )
    if any(one.action != "overwrite" for one in wrong):
        say("  → the same command without --check prints what the credentials should allow")
    return 1 if wrong else 0
