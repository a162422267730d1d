"""Resolving Python requirements into locks, with uv as the resolver and the user's own indexes.

One resolution per architecture, from metadata alone: nothing is built or run. Locks hold file names
and hashes; where a file can be had is asked when it is fetched, so no index is named in them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.python import configured, indexes, page_of

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# What may be set on a machine and would bring in wheels that no lock of another machine would have.
CLEARED = (
    "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_PRERELEASE",
    "UV_RESOLUTION", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_EXCLUDE_NEWER",
    "UV_NO_BINARY", "UV_NO_BUILD", "UV_TORCH_BACKEND", "UV_OFFLINE",
)  # fmt: skip


def lock_python(spec: Mapping[str, Any], work: Path) -> str:
    """Lines ``name==version filename sha256 arch``; arch is "any" for what every architecture uses."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for arch in spec["arches"]:
        for row in resolve(spec, arch, work):
            found.setdefault(row, set()).add(arch)
    lines = []
    for (requirement, filename, sha256), arches in found.items():
        pure = filename.endswith("-none-any.whl")
        for arch in ["any"] if pure and arches == set(spec["arches"]) else sorted(arches):
            lines.append(f"{requirement} {filename} {sha256} {arch}")
    return lockfile.write("python", spec, lines)


def lock_python_sdist(spec: Mapping[str, Any], work: Path) -> str:  # noqa: ARG001
    """The line ``name==version filename sha256`` of one source distribution."""
    _, _, filename, sha256 = find_sdist(str(spec["requirement"]))
    return lockfile.write("python_sdist", spec, [f"{spec['requirement']} {filename} {sha256}"])


def find_sdist(requirement: str) -> tuple[str, str, str, str]:
    """(name, version, file name, SHA-256) of ``name==version``'s source distribution, as the index's
    page lists it. No resolver is asked: for a project without wheels it would run the build backend."""
    from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename
    from packaging.version import InvalidVersion, Version

    name, equals, version = (part.strip() for part in requirement.partition("=="))
    try:
        wanted = (canonicalize_name(name), Version(version))
    except InvalidVersion:
        equals = ""
    if not equals:
        raise FetchError(f"{requirement} is not of the form name==version", hint="a source is locked by its version")
    page = page_of(indexes(os.environ)[:1], wanted[0])
    for filename in sorted(page.links, key=lambda one: (one.endswith(".zip"), one)):
        try:
            found = parse_sdist_filename(filename)
        except (InvalidSdistFilename, InvalidVersion):
            continue  # a wheel, or a name that no installer would take
        if found == wanted:
            return name, version, filename, _checked(page.sha256[filename], filename)
    why = f": {'; '.join(page.failures)}" if page.failures else "" if page.links else ": the index has no such project"
    raise FetchError(f"{requirement} has no source distribution{why}")


def resolve(spec: Mapping[str, Any], arch: str, work: Path) -> Iterator[tuple[str, str, str]]:
    """(requirement, file name, SHA-256) of every distribution of one architecture's resolution."""
    folder = (work / arch).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    overrides = folder / "overrides.txt"
    overrides.write_text("\n".join(spec["overrides"]) + "\n", encoding="utf-8")
    options = ["--only-binary", ":all:", "--python-version", spec["python"], "--override", str(overrides)]
    options += ["--python-platform", f"{MACHINES[arch]}-manylinux_{spec['glibc']}"]
    tags = fitting_tags(spec["python"], spec["glibc"], MACHINES[arch])
    for package in _compile(spec["requirements"], options, folder).get("packages", []):
        wheel = best_wheel(package.get("wheels", []), tags)
        if wheel is None:
            raise FetchError(
                f"{package['name']} {package['version']} has no wheel for Python {spec['python']} on {arch}"
            )
        yield f"{package['name']}=={package['version']}", _filename(wheel), _sha256(wheel)


def best_wheel(wheels: Sequence[Mapping[str, Any]], tags: Mapping[str, int]) -> Mapping[str, Any] | None:
    """The wheel whose tag comes first in ``tags`` (tag → rank); of several such, the highest build."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    ranked = []
    for wheel in wheels:
        try:
            _, _, build, found = parse_wheel_filename(_filename(wheel))
        except InvalidWheelFilename:
            continue  # no installer would take it
        ranks = [tags[str(tag)] for tag in found if str(tag) in tags]
        if ranks:
            ranked.append((-min(ranks), build, _filename(wheel), wheel))
    return max(ranked, key=lambda one: one[:3])[3] if ranked else None


def fitting_tags(python: str, glibc: str, machine: str) -> dict[str, int]:
    """Every wheel tag that fits, best first, with its rank."""
    from packaging import tags

    version = tuple(int(part) for part in python.split("."))
    major, minor = (int(part) for part in glibc.split("_"))
    platforms = [f"manylinux_{major}_{one}_{machine}" for one in range(minor, 4, -1)]
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    platforms += [f"{name}_{machine}" for name in legacy.values()] + [f"linux_{machine}"]
    found = [
        *tags.cpython_tags(version, platforms=platforms),
        *tags.compatible_tags(version, f"cp{version[0]}{version[1]}", platforms),
    ]
    return {str(tag): rank for rank, tag in reversed(list(enumerate(found)))}


def _filename(file: Mapping[str, Any]) -> str:
    name = file.get("name") or unquote(urlsplit(file["url"]).path.rpartition("/")[2])
    return str(name)


def _sha256(file: Mapping[str, Any]) -> str:
    return _checked(file.get("hashes", {}).get("sha256"), _filename(file))


def _checked(sha256: object, filename: str) -> str:
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise FetchError(f"the index gives no sha256 of {filename}", hint="use an index that does")
    return sha256


def _compile(requirements: Sequence[str], options: Sequence[str], work: Path) -> dict[str, Any]:
    """uv's resolution as a parsed pylock file."""
    work.mkdir(parents=True, exist_ok=True)
    wanted, out = work / "requirements.in", work / "pylock.toml"
    wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    argv = [sys.executable, "-m", "uv", "pip", "compile", str(wanted), "--format", "pylock.toml", "--no-header"]
    # the interpreter we are: uv would look for (and download) one of the target's version, though it runs none
    argv += ["--python", sys.executable, "--no-python-downloads"]
    env = {name: value for name, value in os.environ.items() if name not in CLEARED}
    if index := configured(env):
        env["UV_DEFAULT_INDEX"] = index  # uv does not read pip's configuration
    done = subprocess.run(
        [*argv, *options, "--quiet", "-o", str(out)],
        env=env,
        cwd="/",  # uv.toml and [tool.uv] of the folder that hb was called in, or above, play no part
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FetchError(f"resolving {', '.join(requirements)[:200]} failed: {done.stderr.strip()[-2000:]}")
    return tomllib.loads(out.read_text(encoding="utf-8"))
