"""Debian packages become trees: the operations ``deb`` (one package) and ``rootfs`` (their union).

Guarantees: nothing is run and nothing is written but the store. The union has a package database as
dpkg itself would have left it after unpacking, so that ``dpkg --configure`` finishes the job. Two
packages may put different files at one path only when one says it replaces the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermetic import tree
from hermetic.action import Kind
from hermetic.archive.tree import Options
from hermetic.archive.unpack import unpack_blob
from hermetic.digest import Digest
from hermetic.errors import ArchiveError, InternalError
from hermetic.fetch.deb_control import check_package, parse_control
from hermetic.fetch.deb_database import database
from hermetic.fetch.deb_union import Package, union
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.protocols import BlobStore
from hermetic.tree import Directory, File

STATES = ("unpacked", "installed")


def deb(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:  # noqa: ARG001
    """One package: ``data`` is what it installs, with owners, modes and extended attributes as they
    are in it, ``control`` its control members."""
    (blob,) = inputs.values()
    found = {}
    for part in ("data", "control"):
        options = Options(format="deb", part=part, keep_owners=True, keep_modes=True, keep_xattrs=True, rootfs=True)
        found[part] = Resolved(Kind.TREE, unpack_blob(blob.digest, options, bench.store))
    return found


def rootfs(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """The union ``out`` of ``/data/N`` with a database made from ``/control/N``.

    ``state`` is "unpacked" (to be configured) or "installed" (left as it is, for an architecture that
    cannot run here); ``arch`` the native architecture.
    """
    if params["state"] not in STATES:
        raise InternalError(f"rootfs knows no state {params['state']!r}")
    store = bench.store
    numbers = sorted(path.rpartition("/")[2] for path in inputs if path.startswith("/data/"))
    packages = [read_package(inputs[f"/control/{n}"].digest, inputs[f"/data/{n}"].digest, store) for n in numbers]
    store.put(tree.EMPTY_DIR.encode())
    root = union(packages, store) if packages else tree.EMPTY_TREE
    known = tree.build(database(packages, params["arch"], params["state"], store), store.put)
    return {"out": Resolved(Kind.TREE, tree.merge([root, known], store.read, store.put))}


def read_package(control: Digest, data: Digest, store: BlobStore) -> Package:
    """A package from the two trees that ``deb`` made of it. ArchiveError when it is none."""
    entries = Directory.decode(store.read(control)).entries
    node = entries.get("control")
    if not isinstance(node, File):
        raise ArchiveError("a package has no control file")
    try:
        fields = parse_control(store.read(node.digest).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ArchiveError(f"a package's control file is not UTF-8: {error.reason}") from None
    check_package(fields)
    return Package(fields, entries, data)
