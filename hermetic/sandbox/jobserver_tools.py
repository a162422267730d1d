"""Which build tools a root filesystem has, and how each is told how many jobs it may run.

Nothing is run to find out: what a program supports shows in its bytes. make before 4.4 ends with an error
when it is given a FIFO, ninja before 1.13 knows no jobserver at all, nvcc 13 ends with an error when it is
told of a jobserver that it cannot open (all measured). One environment variable has to do for all of them,
so what a command's text speaks of decides whose words are used.
"""

from __future__ import annotations

import os
import re
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
CALLERS = frozenset({"ninja", "cmake", "meson"})  # what ends in a ninja
LISTENERS = ("fifo", "both")
WORD = re.compile(r"[\w+-]+")
LARGEST = 64 << 20  # bytes of a program that are looked at


@dataclass(frozen=True, slots=True)
class Tools:
    """``make``: "fds" or "fifo", what it understands; ``ninja``: "old", "fifo", or "both" of them; "" for none.
    ``nvcc``: it takes threads of its own from a jobserver."""

    make: str = ""
    ninja: str = ""
    cargo: bool = False
    nvcc: bool = False
    languages: frozenset[str] = frozenset()

    @property
    def style(self) -> str:
        """How a jobserver is handed over: "fds", "fifo", or "" when nobody would listen."""
        if self.make == "fds":
            return "fds"
        return "fifo" if self.make or self.ninja in LISTENERS or self.cargo or self.nvcc else ""

    @property
    def ninja_listens(self) -> bool:
        return self.ninja == "both" or (self.ninja == "fifo" and self.style == "fifo")

    def meant_by(self, texts: Iterable[str]) -> Tools:
        """The tools for a command of these words and scripts. A ninja that would not listen is told a number,
        so where it is called nobody gets a jobserver; for nvcc alone a make needs no descriptors."""
        words = {word for text in texts for word in WORD.findall(text)}
        nvcc = self.nvcc and "sccache" not in words  # which takes nvcc apart and runs the pieces itself
        if words & CALLERS and self.ninja and not self.ninja_listens:
            return replace(self, make="", ninja="old", cargo=False, nvcc=False)
        if nvcc and "nvcc" in words and not words & (CALLERS | {"make"}):
            return replace(self, make="")
        return replace(self, nvcc=nvcc and self.make != "fds")


def tools_in(roots: Iterable[Path], path: str = "") -> Tools:
    """The tools of a root made of these trees, lowest first. ``path``: the command's PATH."""
    folders = tuple(dict.fromkeys((*(one.strip("/") for one in path.split(":") if one), *FOLDERS)))
    tools = Tools()
    for root in roots:
        found = _tools(root, folders)
        tools = Tools(
            found.make or tools.make,
            found.ninja or tools.ninja,
            found.cargo or tools.cargo,
            found.nvcc or tools.nvcc,
            found.languages | tools.languages,
        )
    return tools


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
    if not (tools.style and tools.ninja_listens):  # a number on its command line ends ninja's listening
        found["MAX_JOBS"] = str(jobs)
    if not tools.style or (tools.ninja and not tools.ninja_listens):
        found["CMAKE_BUILD_PARALLEL_LEVEL"] = str(jobs)
        found["NINJAFLAGS"] = f"-j{jobs}"  # which ninja itself does not read: scripts hand it on
    if tools.nvcc and tools.style == "fifo":  # first, so that a number of the command's own is the last
        found["NVCC_PREPEND_FLAGS"] = f"--jobserver --threads={jobs}"
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
    ninja = _ninja(root, seen["ninja"]) if "ninja" in seen else ""
    nvcc = "nvcc" in seen and _says(root, seen["nvcc"], b"--jobserver")
    return Tools(make, ninja, "cargo" in seen, nvcc, frozenset(LANGUAGES[name] for name in seen if name in LANGUAGES))


def _ninja(root: Path, program: Path) -> str:
    if not _says(root, program, b"jobserver-auth"):
        return "old"
    return "both" if _says(root, program, b"jobserver-pipe") else "fifo"


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
