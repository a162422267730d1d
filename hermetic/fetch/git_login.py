"""A login for git that is in no command line, no environment and no file.

git asks a credential helper (gitcredentials(7)); ours is ``cat`` on an anonymous file that git's processes
inherit. It is configured for the hosts of the pinned addresses alone, so neither a submodule nor a redirect to
another host gets it. The user's own helpers are not asked for these hosts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from hermetic.errors import FetchError
from hermetic.fetch.login import Login
from hermetic.fetch.transport import Refused
from hermetic.memfile import memory_file

USER = "x-access-token"  # what servers that want a token only take as the user


@dataclass(frozen=True, slots=True)
class Access:
    """``settings``: words for git's command line; ``fds``: descriptors they name."""

    login: Login | None = None
    settings: tuple[str, ...] = ()
    fds: tuple[int, ...] = ()

    def check(self, url: str) -> None:
        """Raises Refused for an address that would carry the secret in the clear."""
        if self.login is not None and urlsplit(url).scheme == "http":
            self.login.goes_to(url)


NO_ACCESS = Access()


@contextmanager
def git_login(login: Login | None, urls: Sequence[str]) -> Iterator[Access]:
    """What git is told. Raises FetchError when no address can take the secret."""
    if login is None:
        yield NO_ACCESS
        return
    origins = dict.fromkeys(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        for url in urls
        if (parts := urlsplit(url)).scheme in ("http", "https") and _takes(login, url)
    )
    if not origins:
        raise FetchError(
            f"no address may be given the secret {login.secret.name}",
            hint="a secret goes to https addresses, and only to the hosts it is bound to; ssh has keys of its own",
        )
    pair = f"username={login.user or USER}\npassword={login.password}\n"
    fd = memory_file("hb-login", pair.encode("latin-1"))
    try:
        helper = f"!cat /proc/self/fd/{fd} #"  # git appends what it wants: get, store or erase
        words = [
            word for origin in origins for text in ("", helper) for word in ("-c", f"credential.{origin}.helper={text}")
        ]
        yield Access(login, tuple(words), (fd,))
    finally:
        os.close(fd)


def _takes(login: Login, url: str) -> bool:
    try:
        return login.goes_to(url)
    except Refused:
        return False
