"""``hb cache``: what is in the local store, whether it is sound, making room; keys for signing results; filling a
remote cache from here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.options import Parser, add_common
from hermetic.cli.streams import say
from hermetic.errors import CommandLineError

if TYPE_CHECKING:
    from hermetic.store.disk import DiskStore

OTHERS = {"push": "hermetic.cli.pushing", "policy": "hermetic.cli.policies"}  # with options of their own
KINDS = {
    "cas": "blobs",
    "exec": "executable twins of blobs",
    "ac": "results",
    "stage": "staged trees (their files are links of blobs)",
    "compile": "compiled objects, of the compile cache",
    "derived": "compressed layers, made again when needed",
    "quarantine": "rotten blobs that verify set aside",
}


def main(words: Sequence[str]) -> int:
    about = (
        "stats: size of the store and hit rates of past builds. verify: read everything and compare with its name.\n"
        "gc: remove what was not used for long, here or with --remote in a bucket. keygen: make a key for signing "
        "results of a remote cache.\npush: write results that are here to a remote cache. policy: who may do what in a "
        "bucket. These two have options of their own: hb cache push --help."
    )
    if words and words[0] in OTHERS:
        code: int = import_module(OTHERS[words[0]]).main(words[1:])
        return code
    parser = Parser("cache", about, "hb cache gc --max-size 20G --keep-days 14")
    parser.add_argument("what", choices=["stats", "verify", "gc", "keygen", *OTHERS])
    parser.add_argument("--repair", action="store_true", help="verify: set rotten blobs aside, remove broken results")
    parser.add_argument("--compile", action="store_true", help="stats: what the compile cache did in past builds")
    parser.add_argument("--max-size", metavar="SIZE", help="gc: what results may take: 500M, 20G")
    parser.add_argument("--keep-days", metavar="N", type=float, help="gc: results not used for longer go")
    parser.add_argument("--remote", metavar="URL", help="gc: s3://…, collect there instead of in the local store")
    parser.add_argument("--grace-hours", metavar="N", type=float, help="gc --remote: blobs without a result stay (24)")
    parser.add_argument("--dry-run", "-n", action="store_true", help="gc: only say what would go")
    parser.add_argument("--output", "-o", metavar="FILE", help="keygen: where the private key goes (default: your own)")
    add_common(parser)
    args = parser.parse(words)
    if args.what in OTHERS:
        raise CommandLineError(f"{args.what} comes before its options", hint=f"see hb cache {args.what} --help")
    if args.what == "keygen":
        return _keygen(args.output)
    if args.remote is not None:
        from hermetic.cli.collecting import collect_remote

        if args.what != "gc":
            raise CommandLineError(f"hb cache {args.what} has no --remote", hint="hb cache gc --remote s3://…")
        return collect_remote(args)
    from hermetic.cli import workspace
    from hermetic.store.disk import DiskStore

    found = workspace.find(Path.cwd(), args.config, args.set)
    store = DiskStore(found.store_path(args.store))
    if args.what == "stats":
        return _compiled(store) if args.compile else _stats(store)
    return _verify(store, args.repair) if args.what == "verify" else _gc(store, args)


def _stats(store: DiskStore) -> int:
    from hermetic.execution.history import History

    print(f"store {store.root}")
    for kind, about in KINDS.items():
        count, size = _measure(store.root / kind, linked=kind == "stage")
        if count:
            print(f"  {count:8}  {size / 1e6:10.1f} MB  {about}")
    outcomes: dict[str, int] = {}
    heads = History(store.root / "builds").heads()
    for head in heads:
        for word, count in head.outcomes.items():
            outcomes[word] = outcomes.get(word, 0) + count
    total = sum(outcomes.values()) - outcomes.get("skipped", 0)
    if total:
        hits = outcomes.get("hit-local", 0), outcomes.get("hit-remote", 0)
        rates = [f"{100 * count / total:.1f} %" for count in hits]
        print(f"last {len(heads)} builds: {total} actions, {rates[0]} local hits, {rates[1]} remote hits")
        print("  " + ", ".join(f"{word} {count}" for word, count in outcomes.items()))
    return 0


def _compiled(store: DiskStore) -> int:
    """What compile caches did in the builds that are kept, by step."""
    from contextlib import suppress

    from hermetic.execution.compile_counts import Counts, total
    from hermetic.execution.history import DamagedRecord, History
    from hermetic.store.compile.objects import measure

    history = History(store.root / "builds")
    steps: dict[str, list[Counts]] = {}
    for head in history.heads():
        with suppress(DamagedRecord):
            for number, counts in history.compiled(head).items():
                steps.setdefault(history.state(head).steps[number].title, []).append(counts)
    count, size = measure(store.root / "compile")
    every = total(one for found in steps.values() for one in found)
    print(f"compile cache: {count} objects, {size / 1e6:.1f} MB")
    print(f"past builds: {every}")
    print("".join(f"  not cacheable: {one}\n" for one in every.reasons()), end="")
    for title in sorted(steps):
        print(f"  {len(steps[title]):4} x {title}: {total(steps[title])}")
    return 0


def _measure(folder: Path, *, linked: bool) -> tuple[int, int]:
    """How many files (or staged trees) are in a folder of the store, and their bytes."""
    if linked:
        return sum(1 for _ in folder.glob("*/*")), 0
    count = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            count += 1
            size += os.lstat(os.path.join(place, name)).st_size
    return count, size


def _verify(store: DiskStore, repair: bool) -> int:
    from contextlib import nullcontext

    from hermetic.store.lease import alone
    from hermetic.store.verify import verify

    with alone(store.root) if repair else nullcontext():
        found = verify(store, repair=repair)
    for name in ("rotten", "broken", "incomplete", "trees"):
        for path in getattr(found, name):
            print(f"{name}\t{path}")
    say(f"hb: read {found.blobs} blobs, {found.size / 1e6:.1f} MB: {'all sound' if found.good else 'not all sound'}")
    if found.good or repair:
        return 0
    say("  → hb cache verify --repair sets them aside; what is missing then is made or fetched again")
    return 1


def _gc(store: DiskStore, args: argparse.Namespace) -> int:
    from hermetic.cli.tidy import collect, collect_compiled, described, limits
    from hermetic.store.compile.objects import measure

    if args.max_size is None and args.keep_days is None:
        raise CommandLineError("hb cache gc needs a limit", hint="--max-size 20G, --keep-days 14, or both")
    bounds = limits(args.max_size, args.keep_days)
    swept = collect(store, bounds, dry_run=args.dry_run)
    would = "would remove" if args.dry_run else "removed"
    say(f"hb: {described(swept, would)}")
    count, size = measure(store.root / "compile")
    if count:
        gone = collect_compiled(store.root, bounds, dry_run=args.dry_run)
        say(f"hb: compile cache: {would} {gone} of {count} objects, {size / 1e6:.1f} MB")
        say("  → --keep-days holds for it too; its size is limited by max_size in [tool.hb.compile-cache]")
    return 0


def _keygen(output: str | None) -> int:
    """The private key into a file of its owner, the public one to stdout."""
    from hermetic.store.trust import generate, own_key, write_key

    path = Path(output) if output else own_key()
    pem, public = generate()
    try:
        write_key(path, pem)
    except OSError as error:
        raise CommandLineError(f"{path} cannot be written: {error.strerror}") from None
    say(f"hb: wrote {path}; whoever is to read what it signs adds to pyproject.toml:")
    say(f'[tool.hb.trust]\ndefault = ["{public}"]')
    print(public)
    return 0
