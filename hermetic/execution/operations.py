"""The table of internal operations: name → version and function, imported when first used.

A version changes when the operation's output for the same input changes; it is in every key.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hermetic.errors import InternalError, did_you_mean
from hermetic.store.operation import Operation


@dataclass(frozen=True, slots=True)
class Entry:
    version: str
    place: str
    encoder: str = ""  # "module:function" giving what else the bytes depend on (library versions)

    def load(self) -> Operation:
        function: Operation = _load(self.place)
        return function

    def full_version(self, params: str) -> str:
        if not self.encoder:
            return self.version
        describe: Callable[[str], str] = _load(self.encoder)
        return f"{self.version}+{describe(params)}"


OPERATIONS = {
    "base_rootfs": Entry("1", "hermetic.oci.base:base_rootfs"),
    "chmeta": Entry("1", "hermetic.store.treeops:chmeta"),
    "check_image": Entry("1", "hermetic.oci.check:check_image"),
    "deb": Entry("1", "hermetic.fetch.deb_unpack:deb"),
    "image": Entry("2", "hermetic.oci.image:image"),
    "index": Entry("1", "hermetic.oci.image:index"),
    "layer": Entry("1", "hermetic.oci.layer:layer", "hermetic.oci.compress:describe"),
    "merge": Entry("1", "hermetic.store.treeops:merge"),
    "rootfs": Entry("2", "hermetic.fetch.deb_unpack:rootfs"),
    "subset": Entry("1", "hermetic.store.treeops:subset"),
    "unpack": Entry("1", "hermetic.archive.unpack:unpack"),
    "vendor_crates": Entry("1", "hermetic.fetch.cargo_vendor:vendor_crates"),
    "write": Entry("1", "hermetic.store.treeops:write"),
}


def operation(name: str) -> Entry:
    try:
        return OPERATIONS[name]
    except KeyError:
        raise InternalError(f"there is no internal operation {name!r}", hint=did_you_mean(name, OPERATIONS)) from None


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
