"""Anonymous files: in memory, without a name on any disk, gone with the last process that has them open."""

from __future__ import annotations

import errno
import os

NOEXEC_SEAL = 0x8  # MFD_NOEXEC_SEAL, which Python has no name for; machines may insist on it (sysctl vm.memfd_noexec)


def memory_file(name: str, content: bytes = b"") -> int:
    """A descriptor that no child inherits unless it is told to, at the beginning of ``content``."""
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel before 6.3
            raise
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as stream:
        stream.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
