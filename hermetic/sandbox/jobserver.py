"""One pool of job tokens for all sandboxes, in the protocol of GNU make's jobserver.

Guarantees: tokens lent and tokens left are together the machine's CPUs at all times; a sandbox's tokens
come back when it ends, however it ends and whatever it did with them; a token that nobody uses goes to
whoever runs dry; tokens can be withdrawn from running tools, which then start no more jobs than are left.

Every sandbox has a FIFO of its own, so tokens are counted per sandbox: none can take another's, lose
another's, or add to the pool. The implicit slot of the protocol is the CPU that the schedule gave the
action. A thread moves tokens between the FIFOs and the budget, twenty times a second while any is open.

Source: GNU make manual, "POSIX Jobserver Interaction".
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

TICK = 0.05  # seconds


class Tokens(Protocol):
    """Where tokens come from: a CPU and the memory of a job each."""

    def take(self, cpus: int, memory: int) -> bool: ...
    def give(self, cpus: int, memory: int) -> None: ...


@dataclass(slots=True)
class Client:
    """A sandbox's FIFO. ``memory``: bytes that a token stands for; ``most``: tokens it may have."""

    path: Path
    memory: int
    most: int
    given: int = 0
    handle: int = -1
    lent: list[int] = field(default_factory=list)  # descriptors made for the sandbox

    def open(self) -> None:
        os.mkfifo(self.path, 0o600)
        self.path.chmod(0o666)  # whatever the umask: the sandbox may have another user id
        self.handle = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def descriptors(self) -> tuple[int, int]:
        """For tools that inherit. Descriptions of their own: make 4.3 sets a flag on them."""
        self.lent = [os.open(self.path, flags | os.O_CLOEXEC) for flags in (os.O_RDONLY, os.O_WRONLY)]
        return self.lent[0], self.lent[1]

    @property
    def idle(self) -> int:
        """Tokens that lie in the FIFO."""
        return int(struct.unpack("i", fcntl.ioctl(self.handle, termios.FIONREAD, b"\0" * 4))[0])

    def put(self, count: int) -> int:
        """Lend up to ``count`` tokens: a FIFO that its sandbox filled takes none."""
        try:
            put = os.write(self.handle, b"+" * count)
        except BlockingIOError:
            put = 0
        self.given += put
        return put

    def draw(self, count: int) -> int:
        """Take back up to ``count`` tokens that nobody holds. What a tool forged is thrown away."""
        forged = self.idle - self.given
        with suppress(BlockingIOError):
            if forged > 0:
                os.read(self.handle, forged)
            count = min(count, self.given)  # the sandbox may forge more meanwhile
            got = len(os.read(self.handle, count)) if count > 0 else 0
            self.given -= got
            return got
        return 0

    def close(self) -> None:
        for handle in (self.handle, *self.lent):
            os.close(handle)
        self.path.unlink(missing_ok=True)


class Pool:
    """``tokens``: the budget; ``woken``: called when what ``owed`` asked for is free."""

    def __init__(self, tokens: Tokens, woken: Callable[[], None] = lambda: None) -> None:
        self.tokens = tokens
        self.woken = woken
        self.withdrawn = False  # under memory pressure: no token is given, those that come back stay
        self.owed: tuple[int, int] = (0, 0)
        self._clients: list[Client] = []
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def join(self, path: Path, memory: int, most: int) -> Client:
        """A FIFO for a sandbox, empty at first."""
        client = Client(path, memory, most)
        client.open()
        with self._lock:
            self._clients.append(client)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hb-jobserver", daemon=True)
                self._thread.start()
        self._open.set()
        return client

    def leave(self, client: Client) -> None:
        """The sandbox has ended: its tokens are back, those it held too."""
        with self._lock:
            self._clients.remove(client)
            self._back(client, client.given)
            client.given = 0
            client.close()
            if not self._clients:
                self._open.clear()

    @property
    def lent(self) -> int:
        with self._lock:
            return sum(client.given for client in self._clients)

    def reclaim(self, cpus: int, memory: int) -> bool:
        """Draw idle tokens back until that much is free; the youngest lend first. Whether it is."""
        with self._lock:
            return self._reclaim(cpus, memory)

    def tick(self) -> None:
        """Move tokens to where they are needed. Called by the thread."""
        with self._lock:
            cpus, memory = self.owed
            if self.withdrawn:
                for client in self._clients:
                    self._back(client, client.draw(client.given))
            elif cpus:
                if self._reclaim(cpus, memory):
                    self.owed = (0, 0)
                    self.woken()
            else:
                self._feed()

    def close(self) -> None:
        self._ended = True
        self._open.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._open.wait() and not self._ended:
            self.tick()
            if self.withdrawn or self.owed[0]:
                self._listen()
            else:
                time.sleep(TICK)

    def _listen(self) -> None:
        """Until a token lies idle: a busy tool takes it again at once, so drawing has to be as quick."""
        ready = select.poll()
        with self._lock:
            for client in self._clients:
                ready.register(client.handle, select.POLLIN)
        ready.poll(TICK * 1000)

    def _reclaim(self, cpus: int, memory: int) -> bool:
        if self._free(cpus, memory):
            return True
        for client in reversed(self._clients):
            while client.draw(1):
                self._back(client, 1)
                if self._free(cpus, memory):
                    return True
        return False

    def _feed(self) -> None:
        hungry = [one for one in self._clients if one.given < one.most and not one.idle]
        for client in hungry:
            wish = min(client.given + 1, client.most - client.given)
            got = 0
            while got < wish and (self.tokens.take(1, client.memory) or self._from_the_rich(client)):
                got += 1
            if got:
                self._back(client, got - client.put(got))

    def _from_the_rich(self, poor: Client) -> bool:
        """A token that lies idle elsewhere."""
        for client in reversed(self._clients):
            if client is not poor and client.idle and client.draw(1):
                self._back(client, 1)
                return self.tokens.take(1, poor.memory)
        return False

    def _free(self, cpus: int, memory: int) -> bool:
        if self.tokens.take(cpus, memory):
            self.tokens.give(cpus, memory)
            return True
        return False

    def _back(self, client: Client, count: int) -> None:
        if count:
            self.tokens.give(count, count * client.memory)
