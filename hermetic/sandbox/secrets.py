"""Secrets inside a sandbox: files that exist in memory only, for as long as the sandbox does.

Guarantees: a value reaches bubblewrap through an anonymous file that no other process of hb's inherits, and
lies in the sandbox on a read-only tmpfs of its own, mode 0400, owned by the action's user. It is in no file
system of the machine, no environment and no command line; when the sandbox ends, however that is, it is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from hermetic.memfile import memory_file
from hermetic.secret import Secret


@contextmanager
def opened(secrets: Sequence[Secret]) -> Iterator[Mapping[str, int]]:
    """Name → a descriptor from which the value can be read, for ``arguments`` and the process it starts."""
    with ExitStack() as stack:
        found = {}
        for secret in secrets:
            found[secret.name] = fd = memory_file(f"hb-{secret.name}", secret.value)
            stack.callback(os.close, fd)
        yield found


def mounts(fds: Mapping[str, int], place: str) -> list[str]:
    """bubblewrap's words that put the secrets at ``place``."""
    if not fds:
        return []
    files = [word for name, fd in fds.items() for word in ("--perms", "0400", "--file", str(fd), f"{place}/{name}")]
    return ["--perms", "0700", "--tmpfs", place, *files, "--remount-ro", place]
