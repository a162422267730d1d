"""Structural checks of an assembled image: nothing is run, so every architecture can be checked.

The operation ``check_image`` looks at the merged layers and the configuration. All failures are
reported together, each with its evidence.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hermetic.action import Kind
from hermetic.errors import ActionError, BuildFileError, did_you_mean
from hermetic.oci.check_elf import elf_arch, needed_resolved
from hermetic.oci.layer import canonical
from hermetic.oci.view import View, view_of
from hermetic.store.operation import Resolved, Workbench
from hermetic.tree import Directory, Symlink

Check = Callable[[View, Mapping[str, Any]], Iterator[str]]
SHOWN = 20  # failures of one check that its message lists


def check_image(params: Mapping[str, Any], inputs: Mapping[str, Resolved], bench: Workbench) -> Mapping[str, Resolved]:
    """Run ``checks`` (dicts with a ``kind``) on the image at ``/image``, whose base's root filesystem is at
    ``/base`` if it has one; output ``report`` (JSON)."""
    view = view_of(inputs["/image"].digest, bench.store, [inputs["/base"].digest] if "/base" in inputs else [])
    rows = []
    for number, check in enumerate(params["checks"]):
        problems = list(_check(number, check)(view, _Fields(check)))
        rows.append({"check": check, "passed": not problems, "problems": problems[:SHOWN], "count": len(problems)})
    failed = [row for row in rows if not row["passed"]]
    if failed:
        lines = [f"{row['check']['kind']}: {problem}" for row in failed for problem in row["problems"]]
        lines += [f"{row['check']['kind']}: {row['count']} in all" for row in failed if row["count"] > SHOWN]
        raise ActionError(f"{len(failed)} of {len(rows)} image checks failed:\n  " + "\n  ".join(lines))
    return {"report": Resolved(Kind.BLOB, bench.store.put(canonical(rows)))}


class _Fields(dict[str, Any]):
    """The fields of a check; one that is missing is the BUILD file's mistake."""

    def __missing__(self, name: str) -> Any:
        raise BuildFileError(f"a check of the kind {self['kind']!r} needs {name!r}", hint="see docs/guide/images.md")


def _check(number: int, check: Mapping[str, Any]) -> Check:
    kind = str(check.get("kind"))
    if kind not in CHECKS:
        raise BuildFileError(f"check {number} has the kind {kind!r}", hint=did_you_mean(kind, CHECKS))
    return CHECKS[kind]


def exists(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    """``path`` is there; with ``mode`` (octal), ``uid``, ``gid`` it is so."""
    path = check["path"]
    node = view.resolve(path)
    if node is None:
        yield f"{path} is not there"
        return
    if isinstance(node, Symlink):
        return
    if "mode" in check and node.mode & 0o7777 != int(check["mode"], 8):
        yield f"{path} has mode {node.mode & 0o7777:04o}, not {check['mode']}"
    for name in ("uid", "gid"):
        if name in check and getattr(node.meta, name) != check[name]:
            yield f"{path} has {name} {getattr(node.meta, name)}, not {check[name]}"


def exists_glob(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    if not view.matching(check["glob"]):
        yield f"nothing matches {check['glob']}"


def absent(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    """Nothing matches ``glob``."""
    for path in view.matching(check["glob"]):
        yield f"/{path} is there"


def passwd(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    entry = view.users().get(check["user"])
    if entry is None:
        yield f"there is no user {check['user']}"
        return
    for name in ("uid", "gid", "home", "shell"):
        if name in check and str(entry[name]) != str(check[name]):
            yield f"user {check['user']} has {name} {entry[name]}, not {check[name]}"


def no_user(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    if check["user"] in view.users():
        yield f"there is a user {check['user']}"


def group_writable(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    """Everything at and below ``prefix`` belongs to ``gid`` and its group may write it."""
    found = False
    for path, node in view.below(check["prefix"]):
        found = True
        if isinstance(node, Symlink):
            continue
        if node.meta.gid != check["gid"]:
            yield f"/{path} has gid {node.meta.gid}"
        elif not node.mode & 0o020:
            yield f"/{path} has mode {node.mode & 0o7777:04o}"
    if not found:
        yield f"{check['prefix']} is not there"


def _config(key: str, default: Any) -> Check:
    def compare(view: View, check: Mapping[str, Any]) -> Iterator[str]:
        found = view.config.get("config", {}).get(key, default)
        if found != check["value"]:
            yield f"{key} is {found!r}, not {check['value']!r}"

    return compare


def env(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    found = view.env().get(check["name"])
    if found != check["value"]:
        yield f"{check['name']} is {found!r}, not {check['value']!r}"


def env_set(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    for name in check["names"]:
        if name not in view.env():
            yield f"{name} is not set"


def cuda_major(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    """Python distributions of one CUDA major only: none matches ``forbid``; of each glob in ``one_of``
    there is exactly one."""
    names = sorted({name for name, _ in distributions(view)})
    for glob in check["forbid"]:
        for name in fnmatch.filter(names, glob):
            yield f"{name} is in an image for CUDA {check['major']}"
    for glob in check.get("one_of", ()):
        found = fnmatch.filter(names, glob)
        if len(found) != 1:
            yield f"exactly one of {glob} is wanted, found {', '.join(found) or 'none'}"


def distributions(view: View) -> Iterator[tuple[str, str]]:
    """(normalised name, version) of every installed Python distribution."""
    for path, node in view.nodes.items():
        if isinstance(node, Directory) and path.endswith(".dist-info"):
            name, _, version = path.rpartition("/")[2].removesuffix(".dist-info").rpartition("-")
            yield re.sub(r"[-_.]+", "-", name).lower(), version


def source_present(view: View, check: Mapping[str, Any]) -> Iterator[str]:
    """When something matches ``if``, something matches ``then``."""
    if view.matching(check["if"]) and not view.matching(check["then"]):
        yield f"{check['if']} is there, and nothing matches {check['then']}"


CHECKS: Mapping[str, Check] = {
    "absent": absent,
    "cmd": _config("Cmd", []),
    "cuda_major": cuda_major,
    "elf_arch": elf_arch,
    "entrypoint": _config("Entrypoint", []),
    "env": env,
    "env_set": env_set,
    "exists": exists,
    "exists_glob": exists_glob,
    "group_writable": group_writable,
    "needed_resolved": needed_resolved,
    "no_user": no_user,
    "passwd": passwd,
    "source_present": source_present,
    "user": _config("User", ""),
    "workdir": _config("WorkingDir", "/"),
}
