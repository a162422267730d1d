"""Which build tools a root filesystem has, and how each is told how many jobs it may run.

Nothing is run to find out: what a program supports shows in its bytes. make before 4.4 ends with an error
when it is given a FIFO, ninja before 1.13 knows no jobserver at all (both measured).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from hermetic.sandbox.spec import JOBSERVER

FOLDERS = ("usr/local/bin", "usr/bin", "bin", "usr/local/cuda/bin", "root/.cargo/bin", "usr/local/cargo/bin")
LANGUAGES = {
    "nvcc": "cuda", "rustc": "rust", "cargo": "rust", "g++": "c++", "c++": "c++", "clang++": "c++", "gcc": "c",
    "cc": "c", "clang": "c",
}  # fmt: skip
LARGEST = 64 << 20  # bytes of a program that are looked at


@dataclass(frozen=True, slots=True)
class Tools:
    """``make``: "fds" or "fifo", what it understands; ``ninja``: "old" or "fifo"; "" for none."""

    make: str = ""
    ninja: str = ""
    cargo: bool = False
    languages: frozenset[str] = frozenset()

    @property
    def style(self) -> str:
        """How a jobserver is handed over: "fds", "fifo", or "" when nobody would listen."""
        if self.make == "fds":
            return "fds"
        return "fifo" if self.make or self.ninja == "fifo" or self.cargo else ""

    def meant_by(self, argv: Sequence[str]) -> Tools:
        """The tools for a command: when it speaks of an old ninja, or of what calls one, no other is meant."""
        if self.ninja == "old" and any(word in one for one in argv for word in ("ninja", "cmake", "meson")):
            return replace(self, make="", cargo=False)
        return self


def tools_in(roots: Iterable[Path], path: str = "") -> Tools:
    """The tools of a root made of these trees, lowest first. ``path``: the command's PATH."""
    folders = tuple(dict.fromkeys((*(one.strip("/") for one in path.split(":") if one), *FOLDERS)))
    make, ninja, cargo, languages = "", "", False, frozenset[str]()
    for root in roots:
        found = _tools(root, folders)
        make, ninja = found.make or make, found.ninja or ninja
        cargo, languages = cargo or found.cargo, languages | found.languages
    return Tools(make, ninja, cargo, languages)


def settings(tools: Tools, jobs: int, descriptors: tuple[int, int] | None) -> tuple[tuple[str, str], ...]:
    """Environment for ``jobs`` jobs. ``descriptors``: of the jobserver, where ``tools.style`` is "fds"."""
    found = {"NVCC_THREADS": "1"}
    if tools.style:
        auth = ",".join(map(str, descriptors)) if descriptors else f"fifo:{JOBSERVER}"
        found["MAKEFLAGS"] = found["CARGO_MAKEFLAGS"] = f"-j{jobs} --jobserver-auth={auth}"
    else:
        found["MAKEFLAGS"] = f"-j{jobs}"
    if not tools.style or not tools.cargo:
        found["CARGO_BUILD_JOBS"] = str(jobs)
    if tools.style != "fifo" or tools.ninja != "fifo":  # a number on its command line ends ninja's listening
        found["MAX_JOBS"] = str(jobs)
    if not tools.style or tools.ninja == "old" or (tools.ninja and tools.style == "fds"):
        found["CMAKE_BUILD_PARALLEL_LEVEL"] = str(jobs)
        found["NINJAFLAGS"] = f"-j{jobs}"
    return tuple(sorted(found.items()))


@lru_cache(maxsize=4096)
def _tools(root: Path, folders: Sequence[str]) -> Tools:
    """Of one staged tree, which never changes."""
    root = Path(os.path.realpath(root))
    seen: dict[str, Path] = {}
    for folder in folders:
        place = os.path.realpath(root / folder)
        if not Path(place).is_relative_to(root):
            continue  # a link that leads somewhere else than in the sandbox
        try:
            names = {"make", "ninja", "cargo", *LANGUAGES}.intersection(os.listdir(place))
        except OSError:
            continue
        for name in names:
            seen.setdefault(name, Path(place) / name)
    make = ("fifo" if _says(root, seen["make"], b"fifo:") else "fds") if "make" in seen else ""
    ninja = ("fifo" if _says(root, seen["ninja"], b"jobserver") else "old") if "ninja" in seen else ""
    return Tools(make, ninja, "cargo" in seen, frozenset(LANGUAGES[name] for name in seen if name in LANGUAGES))


def _says(root: Path, program: Path, word: bytes) -> bool:
    """Whether a program's bytes hold ``word``. Links are followed inside the root only."""
    for _ in range(8):
        try:
            found = os.lstat(program)
        except OSError:
            return False
        if stat.S_ISREG(found.st_mode):
            with program.open("rb") as stream:
                return word in stream.read(LARGEST)
        if not stat.S_ISLNK(found.st_mode):
            return False
        target = os.readlink(program)
        base = root if target.startswith("/") else program.parent
        program = Path(os.path.normpath(base / target.lstrip("/")))
        if not program.is_relative_to(root):
            return False
    return False
