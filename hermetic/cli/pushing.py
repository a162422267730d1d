"""``hb cache push``: write to the remote cache what was built here before there was one, or by a build without it.

Nothing runs. Only what this machine made itself is written, because a signature says who made it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hermetic.cli.options import Parser, add_common
from hermetic.cli.remote import add_remote
from hermetic.cli.streams import say
from hermetic.errors import CommandLineError

if TYPE_CHECKING:
    from hermetic.cli.session import Session
    from hermetic.store.remote.cache import RemoteCache

SHOWN = 5  # steps without a result that are named


def main(words: Sequence[str]) -> int:
    about = (
        "Write the results of targets that are in the local store to the remote cache. Runs nothing; what the cache\n"
        "has already is not sent again. Results made with a compile cache or by another machine are not written."
    )
    parser = Parser(
        "cache push", about, "hb cache push //runtime:none-cu13-amd64 --remote-cache s3://our-bucket/builds"
    )
    parser.add_argument("pattern", nargs="+", help="labels and patterns: //pkg:name, //pkg/...")
    add_common(parser)
    add_remote(parser)
    args = parser.parse(words)
    from hermetic.cli.session import session
    from hermetic.execution.outcome import GOOD, Silent

    options = {"dry_run": True, "keep_going": True, "share": True, "no_wait_uploads": False}
    with session(argparse.Namespace(**{**vars(args), **options})) as found:
        cache = _writer(found)
        loaded = found.load(args.pattern)
        result = found.execute(loaded.graph, Silent())
    lacking = sorted(
        {f"{one.action.label} {one.action.mnemonic}" for one in result.finished.values() if one.outcome not in GOOD}
    )
    assert cache.uploads is not None
    sent = cache.uploads.sent
    parts = [f"{sent.results} results written", f"{sent.there} were there"]
    parts += [f"{cache.foreign} came from a remote"] if cache.foreign else []
    say(f"hb: {', '.join(parts)}")
    if lacking:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        say(f"hb: {len(lacking)} steps have no result here: {', '.join(lacking[:SHOWN])}{more}")
        say("  → hb build runs them, and writes their results itself when it has --remote-cache")
    return 1 if sent.failed else 0


def _writer(found: Session) -> RemoteCache:
    """The remote, when it is written to."""
    from hermetic.store.remote.tiered import TieredStore

    if not isinstance(found.store, TieredStore):
        hint = '--remote-cache s3://…, or remote = "…" in [tool.hb.cache]'
        raise CommandLineError("hb cache push needs a remote cache", hint=hint)
    cache = found.store.remote
    if cache.uploads is None:
        raise CommandLineError(f"{cache.remote.name} is only read here", hint="--cache-mode write")
    return cache
