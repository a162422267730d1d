"""Builds of other machines: from a file, or published in the remote cache under a name and a commit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.cli.streams import say
from hermetic.errors import CommandLineError, UserError

if TYPE_CHECKING:
    from hermetic.audit.bundle import Bundle
    from hermetic.audit.past import Past
    from hermetic.execution.history import Head

ANCESTORS = 50  # commits, from HEAD back, whose published builds are looked for


def from_file(path: Path) -> Bundle:
    from hermetic.audit.bundle import Bundle

    try:
        return Bundle.decode(path.read_bytes())
    except OSError as error:
        hint = "hb log ID --export FILE writes one"
        raise CommandLineError(f"{path} cannot be read: {error.strerror}", hint=hint) from None
    except UserError as error:
        raise CommandLineError(f"{path}: {error.message}", hint=error.hint) from None


def from_cache(args: argparse.Namespace, name: str) -> tuple[Bundle, str]:
    """The newest build published as ``name`` for HEAD or one of its ancestors, and that commit."""
    from hermetic.audit.bundle import place_of, published
    from hermetic.audit.revision import ancestors
    from hermetic.cli.session import session

    with session(args) as found:
        for commit in ancestors(found.workspace.root, ANCESTORS):
            key = place_of(name, commit)
            message = found.store.get(key) or (found.remote(key) if found.remote is not None else None)
            if message is not None:
                return published(message, found.store), commit
    raise CommandLineError(
        f"{name!r} is no build that is kept, no file, and no published build of the last {ANCESTORS} commits",
        hint=f"hb log lists builds; hb log last --publish {name} publishes one",
    )


def publish_build(args: argparse.Namespace, past: Past, head: Head, name: str) -> None:
    """Publish a build for the commit that is checked out. Raises CommandLineError in a changed tree."""
    from hermetic.audit.bundle import bundle_of, publish
    from hermetic.audit.revision import ancestors, changed
    from hermetic.cli.session import session

    with session(args) as found:
        edited = changed(found.workspace.root)
        if edited:
            raise CommandLineError(
                f"{edited[0]} is not as in the commit, so this build is not that of the commit",
                hint="commit first; a published build is found by its commit",
            )
        commit = next(iter(ancestors(found.workspace.root, 1)))
        digest = publish(bundle_of(past, head, found.store), name, commit, found.store, found.store)
    say(f"published build {head.id} as {name} of {commit[:12]} ({digest.size} bytes)")
