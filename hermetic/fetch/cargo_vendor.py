"""Vendored crates: the operation ``vendor_crates`` makes the folder offline cargo builds from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hermetic import tree
from hermetic.action import Kind
from hermetic.archive.tree import Options
from hermetic.archive.unpack import unpack_blob
from hermetic.store.operation import Resolved, Workbench
from hermetic.tree import File, Subdir


def vendor_crates(
    params: Mapping[str, Any],  # noqa: ARG001
    inputs: Mapping[str, Resolved],
    bench: Workbench,
) -> Mapping[str, Resolved]:
    """``/crates/<name>-<version>.crate`` become ``<name>-<version>/`` with the checksum file cargo
    wants; the checksums of single files are left out, the whole crate's is enough."""
    store = bench.store
    roots = []
    for path, crate in inputs.items():
        folder = path.rpartition("/")[2].removesuffix(".crate")
        unpacked = unpack_blob(crate.digest, Options(format="tar", strip_prefix=folder), store, folder)
        checksum = json.dumps({"files": {}, "package": crate.digest.hash}, sort_keys=True)
        extra = tree.build({".cargo-checksum.json": File(store.put(checksum.encode()))}, store.put)
        whole = tree.merge([unpacked, extra], store.read, store.put, replace_files=True)
        roots.append(tree.graft(folder, Subdir(whole), store.put))
    return {"out": Resolved(Kind.TREE, tree.merge(roots, store.read, store.put))}
