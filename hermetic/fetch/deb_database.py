"""dpkg's database for packages that hb unpacked: what dpkg itself would have written.

Files: dpkg(1), deb-triggers(5), and dpkg's own layout below /var/lib/dpkg. Conffiles are listed with
their sums because they are in place already; dpkg then has nothing to ask about them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

from hermetic import tree
from hermetic.errors import ActionError
from hermetic.fetch.deb_union import Package
from hermetic.store.protocols import BlobStore
from hermetic.tree import File, Meta, Symlink

INFO = "var/lib/dpkg/info"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
Nodes: TypeAlias = dict[str, File | Symlink | Meta]


def database(packages: Sequence[Package], arch: str, state: str, store: BlobStore) -> Nodes:
    """The files of /var/lib/dpkg, by path. ``state`` is "unpacked" or "installed", ``arch`` the native
    architecture."""
    nodes: Nodes = {
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
        if f"{INFO}/{package.info}.list" in nodes:
            raise ActionError(f"the package {package.info} is there twice", hint="leave one of them out")
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


def _info(package: Package, store: BlobStore) -> Nodes:
    nodes: Nodes = {}
    for name, node in package.control.items():
        if name != "control" and isinstance(node, File):
            executable = name in _SCRIPTS
            nodes[f"{INFO}/{package.info}.{name}"] = File(node.digest, executable)
    paths = [f"/{path}" if path else "/." for path, _ in tree.walk(package.data, store.read)]
    nodes[f"{INFO}/{package.info}.list"] = File(store.put("".join(f"{path}\n" for path in paths).encode()))
    return nodes


def _triggers(packages: Sequence[Package], store: BlobStore) -> Nodes:
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
    nodes: Nodes = {
        "var/lib/dpkg/triggers/File": File(store.put("".join(sorted(files)).encode())),
        "var/lib/dpkg/triggers/Lock": File(store.put(b"")),
        "var/lib/dpkg/triggers/Unincorp": File(store.put(b"")),
    }
    for name, lines in named.items():
        nodes[f"var/lib/dpkg/triggers/{name}"] = File(store.put("".join(sorted(lines)).encode()))
    return nodes
