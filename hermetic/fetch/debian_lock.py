"""Resolving Debian packages and sources into locks, with apt itself as the resolver.

apt runs with a state of its own in a scratch folder: the machine's installed packages play no part.
It verifies the archive's signatures; the SHA-256 sums it then prints go into the lock.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.debian import Mirror, mirrors

_URI = re.compile(r"^'([^']+)' (\S+) ([0-9]+) (?:SHA256:([0-9a-f]{64})|MD5Sum:[0-9a-f]+)?")


def lock_debian(spec: Mapping[str, Any], work: Path) -> str:
    """The lock of a set of packages: ``name version arch sha256 size pool-path roots``, where roots
    are the architectures whose installation has the package."""
    found: dict[tuple[str, ...], set[str]] = {}
    for arch in spec["arches"]:
        apt = Apt(work / arch, arch, _foreign(spec["packages"], arch), spec["suites"])
        wanted = [*(apt.essential() if spec["essential"] else []), *spec["packages"]]
        for row in apt.install(wanted, closed=spec["closed"]):
            found.setdefault(row, set()).add(arch)
    lines = [" ".join([*row, ",".join(sorted(roots))]) for row, roots in found.items()]
    return lockfile.write("debian", spec, lines)


def lock_debian_source(spec: Mapping[str, Any], work: Path) -> str:
    """The lock of a source package's upstream archive: ``package version file sha256 size pool-path``."""
    apt = Apt(work / "source", "amd64", [], [spec["suite"]], sources=True)
    name, version, file, sha256, size, path = apt.source(spec["package"])
    return lockfile.write("debian_source", spec, [" ".join([name, version, file, sha256, size, path])])


def _foreign(packages: Sequence[str], arch: str) -> list[str]:
    return sorted({name.partition(":")[2] for name in packages if ":" in name} - {arch, "all", "any"})


class Apt:
    """apt with its own state below ``work``, for one native architecture and some suites."""

    def __init__(
        self, work: Path, arch: str, foreign: Sequence[str], suites: Sequence[str], *, sources: bool = False
    ) -> None:
        self.mirror: Mirror = mirrors()[0]
        for folder in ("lists/partial", "archives/partial", "parts"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        (work / "status").touch()
        self.arch = arch
        kinds = ["deb-src"] if sources else ["deb"]
        lines = [
            f"{kind} [signed-by={self.mirror.keyring}] {self.mirror.uri} {s} main" for s in suites for kind in kinds
        ]
        (work / "sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
        arches = " ".join(f'"{one}";' for one in (arch, *foreign))
        config = (
            f'Dir::Etc::sourcelist "{work}/sources.list"; Dir::Etc::sourceparts "{work}/parts";\n'
            f'Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "{work}/parts";\n'
            f'Dir::State "{work}"; Dir::State::status "{work}/status"; Dir::Cache "{work}";\n'
            f'APT::Architecture "{arch}"; APT::Architectures {{ {arches} }};\n'
            'APT::Install-Recommends "false"; APT::Sandbox::User ""; Acquire::Languages "none";\n'
            # an old state of the archive would be a silent downgrade
            'Acquire::Check-Valid-Until "true";\n'
        )
        (work / "apt.conf").write_text(config, encoding="utf-8")
        self._env = {**os.environ, "APT_CONFIG": f"{work}/apt.conf", "LC_ALL": "C.UTF-8"}
        self._run("apt-get", "update", "-qq")

    def essential(self) -> list[str]:
        """What every installation of this architecture has. apt's own pattern for it would bring the
        foreign architectures' along."""
        found = []
        for stanza in self._run("apt-cache", "dumpavail").split("\n\n"):
            fields = dict(re.findall(r"^(Package|Essential|Architecture): (.*)$", stanza, re.M))
            if fields.get("Essential") == "yes" and fields.get("Architecture") in (self.arch, "all"):
                found.append(fields["Package"])
        return sorted(set(found))

    def install(self, packages: Sequence[str], *, closed: bool) -> list[tuple[str, ...]]:
        """(name, version, arch, sha256, size, pool path) of everything an installation would get."""
        if closed:
            text = self._run("apt-get", "install", "--print-uris", "-qq", "-y", *packages)
        else:
            text = self._run("apt-get", "download", "--print-uris", "-qq", *packages)
        files = [match[2] for line in text.splitlines() if (match := _URI.match(line))]
        names = [tuple(file.removesuffix(".deb").split("_")) for file in files]
        return self._rows([(name, unquote(version), arch) for name, version, arch in names])

    def _rows(self, wanted: Sequence[tuple[str, str, str]]) -> list[tuple[str, ...]]:
        """The archive's signed records of these packages. apt prints weak sums for URIs; these are
        the strong ones."""
        if not wanted:
            return []
        # "all" packages are listed under the native architecture's name or none
        asked = [f"{name}{'' if arch == 'all' else ':' + arch}={version}" for name, version, arch in wanted]
        text = self._run("apt-cache", "show", "--no-all-versions", *asked)
        found: dict[tuple[str, str, str], tuple[str, ...]] = {}
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"^(Package|Version|Architecture|SHA256|Size|Filename): (.*)$", stanza, re.M))
            if len(fields) == 6:
                key = (fields["Package"], fields["Version"], fields["Architecture"])
                found[key] = (*key, fields["SHA256"], fields["Size"], fields["Filename"])
        missing = [one for one in wanted if one not in found]
        if missing:
            raise FetchError(f"apt has no record of {' '.join(missing[0])}")
        return [found[one] for one in wanted]

    def source(self, package: str) -> tuple[str, ...]:
        text = self._run("apt-get", "source", "--download-only", "--print-uris", "-qq", package)
        for line in text.splitlines():
            match = _URI.match(line)
            if match and match[4] and re.search(r"\.orig\.tar\.[a-z0-9]+$", match[2]):
                version = match[2].rsplit("_", 1)[1].split(".orig.")[0]
                return package, version, match[2], match[4], match[3], self._pool(match[1])
        raise FetchError(f"the source package {package} has no upstream archive")

    def _pool(self, uri: str) -> str:
        return unquote(uri.removeprefix(f"{self.mirror.uri}/"))

    def _run(self, *argv: str) -> str:
        try:
            done = subprocess.run(argv, env=self._env, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise FetchError(
                f"{argv[0]} is not here", hint="locking Debian packages needs apt; run it on Debian"
            ) from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "  "))]
            raise FetchError(f"{' '.join(argv[:2])} failed: {'; '.join(lines)[:2000] or done.stderr[:2000]}")
        return done.stdout
