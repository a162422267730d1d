"""``hb cache policy``: who may do what in a bucket, as the JSON that the bucket's server reads."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hermetic.cli.options import Parser
from hermetic.errors import CommandLineError


def main(words: Sequence[str]) -> int:
    from hermetic.store.remote.address import parse
    from hermetic.store.remote.protocol import MAIN
    from hermetic.store.remote.roles import Role, bucket_policy, grant, role_policy

    about = (
        "Print the policy of a role for your bucket and prefix, to be attached to the role or user that has it.\n"
        "Without --role: the policy of the bucket itself, which forbids everybody to overwrite. Contacts nothing."
    )
    parser = Parser(
        "cache policy", about, "hb cache policy s3://our-bucket/builds --role pull-request --zone pr-123 > policy.json"
    )
    parser.add_argument("url", help="s3://bucket/prefix, as for --remote-cache")
    parser.add_argument("--role", choices=[str(role) for role in Role], help="who it is for")
    parser.add_argument("--zone", help="pull-request: pr-123 for one, 'pr-*' for a role that all of them share")
    parser.add_argument("--lease", action="store_true", help="laptop: for `lease = true`, what is used stays")
    parser.add_argument("--with-compile-cache", action="store_true", help="also its objects in the same bucket")
    args = parser.parse(words)
    address = parse(args.url)
    if address.scheme != "s3":
        hint = "other remotes decide by other means who may write, see docs/guide/cache.md"
        raise CommandLineError(f"{address} is no bucket", hint=hint)
    if args.role is None:
        if args.zone or args.lease or args.with_compile_cache:
            raise CommandLineError("the policy of the bucket itself has no options", hint="say --role")
        made = bucket_policy(address)
    else:
        given = grant(Role(args.role), args.zone or MAIN, lease=args.lease, compiled=args.with_compile_cache)
        made = role_policy(address, given)
    print(json.dumps(made, indent=2))
    return 0
