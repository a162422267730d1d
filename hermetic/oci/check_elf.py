"""Checks of programs and libraries: one architecture, and every library they need is there."""

from __future__ import annotations

import fnmatch
import posixpath
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hermetic.oci.view import View
from hermetic.tree import File

MACHINES = {62: "amd64", 183: "arm64"}
MAGIC = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Dynamic:
    """What a dynamic section says: needed libraries and where to look first."""

    needed: tuple[str, ...]
    rpath: tuple[str, ...]


def elf_arch(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    """Every ELF file is for ``arch``. GPU code objects (their machine is no CPU's) are not looked at."""
    for path, node in view.files():
        machine = machine_of(view, node)
        if machine is not None and machine != check["arch"]:
            yield f"/{path} is for {machine}"


def needed_resolved(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    """Every NEEDED library is in the image or among ``stubs`` (the host's driver brings those).
    ``ignore``: path glob → reason."""
    search = [real for one in view.env().get("LD_LIBRARY_PATH", "").split(":") if one and (real := view.real(one))]
    search += view.library_dirs
    for path, node in view.files():
        if machine_of(view, node) is None or any(fnmatch.fnmatch(f"/{path}", glob) for glob in check.get("ignore", {})):
            continue
        dynamic = dynamic_of(view, node)
        origin = posixpath.dirname(path)
        own = [real for one in dynamic.rpath if (real := view.real(one.replace("$ORIGIN", f"/{origin}")))]
        # a library is found next to the one that loads it through that one's inherited RPATH
        own.append(origin)
        for name in dynamic.needed:
            if name in check.get("stubs", ()) or any(view.resolve(f"/{folder}/{name}") for folder in [*own, *search]):
                continue
            if "/" in name and view.resolve(name):
                continue
            yield f"/{path} needs {name}"


def machine_of(view: View, node: File) -> str | None:
    """The CPU an ELF file is for; None for other files and for unknown machines."""
    if node.digest.size < 64:
        return None
    with view.store.open(node.digest) as stream:
        head = stream.read(20)
    if head[:4] != MAGIC:
        return None
    return MACHINES.get(struct.unpack_from("<H", head, 18)[0])


def dynamic_of(view: View, node: File) -> Dynamic:
    """NEEDED, RUNPATH and RPATH; empty for static files and for files that cannot be read."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    needed: list[str] = []
    rpath: list[str] = []
    with view.store.open(node.digest) as stream:
        try:
            for segment in ELFFile(stream).iter_segments("PT_DYNAMIC"):
                if isinstance(segment, DynamicSegment):
                    for tag in segment.iter_tags():
                        if tag.entry.d_tag == "DT_NEEDED":
                            needed.append(str(vars(tag)["needed"]))
                        elif tag.entry.d_tag == "DT_RUNPATH":
                            rpath += str(vars(tag)["runpath"]).split(":")
                        elif tag.entry.d_tag == "DT_RPATH":
                            rpath += str(vars(tag)["rpath"]).split(":")
        except (ELFError, ValueError, KeyError, UnicodeDecodeError):
            return Dynamic((), ())
    return Dynamic(tuple(needed), tuple(rpath))
