"""What secrets cost: a command with three of them against one with none, a log that is looked through against one
that is not, and an output that is looked through against one that is only stored.

usage: python tests/bench/bench_secrets.py [ACTIONS]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

from common import paired, row

from hermetic.redact import Redactor
from hermetic.sandbox.namespace import Log, NamespaceSandbox
from hermetic.sandbox.spec import SandboxSpec
from hermetic.secret import Secret
from hermetic.store.disk import DiskStore
from hermetic.store.leaks import GuardedStore

KEY = "\n".join(os.urandom(48).hex()[:64] for _ in range(48)).encode()  # as long as a PEM key of 4096 bits
SECRETS = {
    "a token": (Secret("TOKEN", os.urandom(20).hex().encode()),),
    "a PEM key": (Secret("KEY", KEY),),
}
LOG = b"[ 42%] Building CXX object src/CMakeFiles/core.dir/request_queue.cpp.o\n" * 227_000  # 16 MB


def make_root(top: Path) -> None:
    """A root with one program and what it links to."""
    text = subprocess.run(["ldd", "/bin/true"], capture_output=True, text=True, check=True).stdout
    for path in ["/bin/true", *(word for word in text.split() if word.startswith("/"))]:
        place = top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_root(base / "root")
        three = tuple(Secret(name, os.urandom(20).hex().encode()) for name in ("A", "B", "C"))
        numbers = iter(range(1 << 30))

        def command(secrets: tuple[Secret, ...]) -> None:
            work = base / f"work{next(numbers)}"
            work.mkdir()
            spec = SandboxSpec(argv=("/bin/true",), roots=(base / "root",), secrets=secrets)
            assert NamespaceSandbox().run(spec, work, threading.Event()).exit_code == 0

        row("a command with three secrets", *_named(paired(partial(command, three), partial(command, ()), count)))
        for name, secrets in SECRETS.items():
            _log(base, name, secrets)
            _output(base, name, secrets)


def _log(base: Path, name: str, secrets: tuple[Secret, ...]) -> None:
    def write(*given: Secret) -> None:
        log = Log(base / "log", len(LOG), Redactor(given))
        for at in range(0, len(LOG), 1 << 16):
            log.write(LOG[at : at + (1 << 16)])
        log.close()

    row(f"16 MB of log, looked through for {name}", *_named(paired(partial(write, *secrets), write)))


def _output(base: Path, name: str, secrets: tuple[Secret, ...]) -> None:
    data = base / "data"
    data.write_bytes(os.urandom(64 << 20))
    stores = (DiskStore(base / f"store{number}-{name}") for number in range(1 << 30))

    def guarded() -> None:
        GuardedStore(next(stores), secrets, base).put_file(data)

    row(f"64 MiB of output, looked through for {name}", *_named(paired(guarded, lambda: next(stores).put_file(data))))


def _named(pair: tuple[float, float]) -> tuple[float, str, float]:
    return pair[0], "without", pair[1]


main()
