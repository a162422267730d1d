"""A program on a real pseudo-terminal, and a terminal emulator that shows what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyte

PATIENCE = 30.0  # seconds a screen is waited for


@dataclass
class Person:
    """Looks at the screen, types lines, pulls at the window. ``raw``: everything that was written."""

    master: int
    process: subprocess.Popen[bytes]
    screen: pyte.HistoryScreen
    encoding: str
    raw: bytes = b""
    _stream: pyte.ByteStream = field(init=False)

    def __post_init__(self) -> None:
        self._stream = pyte.ByteStream(self.screen)
        if self.encoding != "utf-8":
            self._stream.select_other_charset("@")

    @property
    def lines(self) -> list[str]:
        """What was scrolled away and what is on the screen, without the empty lines below."""
        above = ["".join(row[n].data for n in range(self.screen.columns)).rstrip() for row in self.screen.history.top]
        shown = [line.rstrip() for line in self.screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return above + shown

    def until(self, seen: Callable[[list[str]], object]) -> list[str]:
        """The lines, when they are as wanted."""
        end = time.monotonic() + PATIENCE
        while not seen(self.lines):
            assert time.monotonic() < end, "\n".join(self.lines)
            assert self._read(0.1), "\n".join(["it ended", *self.lines])
        return self.lines

    def ended(self) -> list[str]:
        """The lines when the program has ended."""
        while self._read(PATIENCE):
            pass
        assert self.process.wait(PATIENCE) is not None
        return self.lines

    def types(self, text: str = "\n") -> None:
        os.write(self.master, text.encode())

    def resizes(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def _read(self, timeout: float) -> bool:
        """False at the end of the program."""
        if not select.select([self.master], [], [], timeout)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)


@contextmanager
def on_a_terminal(
    argv: Sequence[str], columns: int, rows: int, env: Mapping[str, str], cwd: Path, encoding: str = "utf-8"
) -> Iterator[Person]:
    """stdin and stderr of the program are the terminal; stdout is not."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    settings = termios.tcgetattr(slave)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    process = subprocess.Popen(argv, stdin=slave, stdout=subprocess.DEVNULL, stderr=slave, env=dict(env), cwd=cwd)
    os.close(slave)
    try:
        yield Person(master, process, pyte.HistoryScreen(columns, rows, history=10_000, ratio=1.0), encoding)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
