"""Debian packages become trees: the operations ``deb`` (one package) and ``rootfs`` (their union).

Guarantees: nothing is run and nothing is written but the store. The union has a package database as
dpkg itself would have left it after unpacking, so that ``dpkg --configure`` finishes the job. Two
packages may put different files at one path only when one says it replaces the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import Digest
from hermetic.errors import ActionError, ArchiveError
from hermetic.fetch.archive import unpack_blob
from hermetic.fetch.archive_tree import Options
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.protocols import BlobStore
from hermetic.tree import Directory, File, Meta, Node, Subdir, Symlink

INFO = "var/lib/dpkg/info"
# directories that are links into usr since the merge of / and /usr
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")


def deb(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:  # noqa: ARG001
    """One package's members, with owners, modes and capabilities as they are in it."""
    (blob,) = inputs.values()
    found = {}
    for part in ("data", "control"):
        options = Options(format="deb", part=part, keep_owners=True, keep_modes=True, keep_xattrs=True, rootfs=True)
        found[part] = Resolved(Kind.TREE, unpack_blob(blob.digest, options, bench.store))
    return found


@dataclass(frozen=True)
class Package:
    """A package's control fields and trees."""

    fields: Mapping[str, str]
    control: Mapping[str, Node]
    data: Digest

    @property
    def name(self) -> str:
        return self.fields["Package"]

    @property
    def info(self) -> str:
        """What its files in the database are called."""
        same = self.fields.get("Multi-Arch") == "same"
        return f"{self.name}:{self.fields['Architecture']}" if same else self.name

    def replaces(self, other: Package) -> bool:
        names = re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]*)", self.fields.get("Replaces", ""))
        return other.name in names


def rootfs(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """The union of ``/data/N`` with a database made from ``/control/N``.

    ``state`` is "unpacked" (to be configured) or "installed" (left as it is); ``arch`` the native
    architecture.
    """
    store = bench.store
    numbers = sorted(path.rpartition("/")[2] for path in inputs if path.startswith("/data/"))
    packages = [_package(inputs[f"/control/{n}"].digest, inputs[f"/data/{n}"].digest, store) for n in numbers]
    root = _union(packages, store)
    database = tree.build(_database(packages, params["arch"], params["state"], store), store.put)
    return {"out": Resolved(Kind.TREE, tree.merge([root, database], store.read, store.put))}


def _package(control: Digest, data: Digest, store: BlobStore) -> Package:
    entries = Directory.decode(store.read(control)).entries
    node = entries.get("control")
    if not isinstance(node, File):
        raise ArchiveError("a package has no control file")
    return Package(parse_control(store.read(node.digest).decode("utf-8")), entries, _merged_usr(data, store))


def parse_control(text: str) -> dict[str, str]:
    """The fields of a control paragraph; continuation lines stay as they are."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.strip("\n").split("\n"):
        if line[:1] in (" ", "\t"):
            fields[name] += f"\n{line}"
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def _merged_usr(data: Digest, store: BlobStore) -> Digest:
    """A package that still ships /bin or /lib as directories lands below /usr."""
    top = Directory.decode(store.read(data))
    moved = {name: node for name, node in top.entries.items() if name in MERGED and isinstance(node, Subdir)}
    if not moved:
        return data
    rest = {name: node for name, node in top.entries.items() if name not in moved}
    usr = store.put(Directory({"usr": Subdir(store.put(Directory(moved).encode()))}).encode())
    return tree.merge([store.put(Directory(rest, top.meta).encode()), usr], store.read, store.put)


def _union(packages: Iterable[Package], store: BlobStore) -> Digest:
    root = tree.EMPTY_TREE
    store.put(tree.EMPTY_DIR.encode())
    done: list[Package] = []
    for package in packages:
        try:
            root = tree.merge([root, package.data], store.read, store.put)
        except ActionError as error:
            root = _with_replacement(root, package, done, store, error)
        done.append(package)
    return root


def _with_replacement(
    root: Digest, package: Package, done: list[Package], store: BlobStore, error: ActionError
) -> Digest:
    path = error.message.rpartition(" at ")[2]
    for other in done:
        if tree.lookup(other.data, path, store.read) is None:
            continue
        if package.replaces(other):
            return tree.merge([root, package.data], store.read, store.put, replace_files=True)
        if other.replaces(package):
            return tree.merge([package.data, root], store.read, store.put, replace_files=True)
        raise ActionError(
            f"the packages {other.name} and {package.name} both have {path}", hint="leave one of them out"
        )
    raise error


# --- the database -----------------------------------------------------------------------------------


def _database(packages: list[Package], arch: str, state: str, store: BlobStore) -> dict[str, File | Symlink | Meta]:
    nodes: dict[str, File | Symlink | Meta] = {
        f"{INFO}/format": File(store.put(b"1\n")),
        "var/lib/dpkg/updates": Meta(),
        "var/lib/dpkg/parts": Meta(),
    }
    for name in ("available", "diversions", "statoverride"):
        nodes[f"var/lib/dpkg/{name}"] = File(store.put(b""))
    arches = dict.fromkeys([arch, *(p.fields["Architecture"] for p in packages if p.fields["Architecture"] != "all")])
    nodes["var/lib/dpkg/arch"] = File(store.put("".join(f"{one}\n" for one in arches).encode()))
    stanzas = []
    for package in sorted(packages, key=lambda one: (one.name, one.fields["Architecture"])):
        stanzas.append(_stanza(package, state, store))
        nodes.update(_info(package, store))
    nodes["var/lib/dpkg/status"] = File(store.put("\n".join(stanzas).encode()))
    nodes.update(_triggers(packages, store))
    return nodes


def _stanza(package: Package, state: str, store: BlobStore) -> str:
    lines = [f"Package: {package.name}", f"Status: install ok {state}"]
    conffiles = _conffiles(package, store)
    if conffiles:
        lines.append("Conffiles:\n" + "\n".join(f" {path} {md5}" for path, md5 in conffiles))
    lines += [f"{name}: {value}".rstrip() for name, value in package.fields.items() if name != "Package"]
    return "\n".join(lines) + "\n"


def _conffiles(package: Package, store: BlobStore) -> list[tuple[str, str]]:
    node = package.control.get("conffiles")
    if not isinstance(node, File):
        return []
    found = []
    for line in store.read(node.digest).decode("utf-8").splitlines():
        path = line.strip()
        if not path.startswith("/"):
            continue  # "remove-on-upgrade /path": nothing of ours
        file = tree.lookup(package.data, path, store.read)
        if isinstance(file, File):
            found.append((path, hashlib.md5(store.read(file.digest)).hexdigest()))
    return found


def _info(package: Package, store: BlobStore) -> dict[str, File | Symlink | Meta]:
    nodes: dict[str, File | Symlink | Meta] = {}
    for name, node in package.control.items():
        if name != "control" and isinstance(node, File):
            executable = name in _SCRIPTS
            nodes[f"{INFO}/{package.info}.{name}"] = File(node.digest, executable)
    paths = [f"/{path}" if path else "/." for path, _ in tree.walk(package.data, store.read)]
    nodes[f"{INFO}/{package.info}.list"] = File(store.put("".join(f"{path}\n" for path in paths).encode()))
    return nodes


def _triggers(packages: list[Package], store: BlobStore) -> dict[str, File | Symlink | Meta]:
    """Who is interested in which trigger: explicit ones in a file each, paths in one file."""
    files: list[str] = []
    named: dict[str, list[str]] = {}
    for package in packages:
        node = package.control.get("triggers")
        text = store.read(node.digest).decode("utf-8") if isinstance(node, File) else ""
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) == 2 and words[0].startswith("interest"):
                suffix = "/noawait" if words[0].endswith("-noawait") else ""
                if words[1].startswith("/"):
                    files.append(f"{words[1]} {package.info}{suffix}\n")
                else:
                    named.setdefault(words[1], []).append(f"{package.info}{suffix}\n")
    nodes: dict[str, File | Symlink | Meta] = {
        "var/lib/dpkg/triggers/File": File(store.put("".join(sorted(files)).encode())),
        "var/lib/dpkg/triggers/Lock": File(store.put(b"")),
        "var/lib/dpkg/triggers/Unincorp": File(store.put(b"")),
    }
    for name, lines in named.items():
        nodes[f"var/lib/dpkg/triggers/{name}"] = File(store.put("".join(sorted(lines)).encode()))
    return nodes
