"""A listening socket on the loopback of a sandbox's own network, held by a process outside of it.

The sandbox has a network namespace with nothing but a loopback. A short-lived helper enters it (and the user
namespace that owns it), listens at ``ADDRESS``, hands the descriptor over and ends. What answers there is
hb, with its own network and credentials; what is inside sees one port of one address. The address is not
127.0.0.1 and the port is a privileged one, so nothing that a build starts is in its way or in its place.

Sources: setns(2), ioctl_nsfs(2), IP_FREEBIND in ip(7) (the loopback may not be up yet).
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

ADDRESS = ("127.104.98.1", 80)
PATIENCE = 10.0  # seconds
_CHILD = str(Path(__file__).with_name("loopback_child.py"))


def listen_inside(pid: int) -> socket.socket:
    """A socket that listens in the network of the process ``pid``, which must be held until this returns.
    Raises OSError."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE)
        words = [str(pid), str(theirs.fileno()), ADDRESS[0], str(ADDRESS[1])]
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", _CHILD, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        try:
            said, descriptors, _, _ = socket.recv_fds(ours, 1000, 1)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
    if not descriptors:
        raise OSError(f"the sandbox's network cannot be entered: {said.decode(errors='replace') or 'no answer'}")
    return socket.socket(fileno=descriptors[0])
