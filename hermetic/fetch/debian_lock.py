"""Resolving Debian packages and sources into locks, with apt itself as the resolver.

apt runs with a state of its own in a scratch folder: the machine's installed packages play no part, nor
do its hooks, pins and preferences. It verifies the archive's signature; the SHA-256 sums it then prints go into
the lock. Proxies, credentials and whether an archive may be old (a snapshot) are as in the user's apt.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.debian import KEYRING, SOURCES, Mirror, mirrors

_URI = re.compile(r"^'([^']+)' (\S+) ([0-9]+) (?:SHA256:([0-9a-f]{64})|MD5Sum:[0-9a-f]+)?")
_UPSTREAM = re.compile(r"\.orig\.tar\.[a-z0-9]+")
_NATIVE = re.compile(r"[^_]+_[^_-]+\.tar\.[a-z0-9]+")  # a package without a Debian revision is its own upstream

# What a user's apt.conf may hold and what would change a lock, weaken it, or run commands.
_OWN = """
#clear APT::Update; #clear DPkg; #clear APT::Default-Release; #clear Acquire::IndexTargets::deb::Translations;
#clear Acquire::IndexTargets::deb::DEP-11; #clear Acquire::IndexTargets::deb::DEP-11-icons;
APT::Install-Recommends "false"; APT::Install-Suggests "false"; APT::Sandbox::User ""; APT::Get::Download-Only "false";
APT::Get::AllowUnauthenticated "false"; Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false"; Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none"; Acquire::Retries "3";
"""


def lock_debian(spec: Mapping[str, Any], work: Path, etc: Path = SOURCES) -> str:
    """The lock of a set of packages: ``name version arch sha256 size pool-path roots``, where roots
    are the architectures whose installation has the package."""
    found: dict[tuple[str, ...], set[str]] = {}
    for arch in spec["arches"]:
        apt = Apt(work / arch, arch, _foreign(spec["packages"], arch), spec["suites"], etc=etc)
        wanted = [*(apt.essential() if spec["essential"] else []), *spec["packages"]]
        for row in apt.install(wanted, closed=spec["closed"]):
            found.setdefault(row, set()).add(arch)
    lines = [" ".join([*row, ",".join(sorted(roots))]) for row, roots in found.items()]
    return lockfile.write("debian", spec, lines)


def lock_debian_source(spec: Mapping[str, Any], work: Path, etc: Path = SOURCES) -> str:
    """The lock of a source package's upstream archive: ``package version file sha256 size pool-path``."""
    apt = Apt(work / "source", "amd64", [], [spec["suite"]], sources=True, etc=etc)
    return lockfile.write("debian_source", spec, [" ".join(apt.source(spec["package"]))])


def _foreign(packages: Sequence[str], arch: str) -> list[str]:
    return sorted({name.partition(":")[2] for name in packages if ":" in name} - {arch, "all", "any"})


class Apt:
    """apt with its own state below ``work``, for one native architecture and some suites."""

    def __init__(
        self,
        work: Path,
        arch: str,
        foreign: Sequence[str],
        suites: Sequence[str],
        *,
        sources: bool = False,
        etc: Path = SOURCES,
    ) -> None:
        self.arch = arch
        self.bases: list[str] = []
        for folder in ("lists/partial", "archives/partial", "parts"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        (work / "status").touch()
        known = mirrors(etc)
        stanzas = [self._stanza(_mirror_of(suite, known, etc), suite, sources) for suite in suites]
        (work / "hb.sources").write_text("\n".join(stanzas), encoding="utf-8")
        arches = " ".join(f'"{one}";' for one in (arch, *foreign))
        config = (
            f'{_OWN}Dir::Etc::sourcelist "{work}/hb.sources"; Dir::Etc::sourceparts "{work}/parts";\n'
            f'Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "{work}/parts";\n'
            f'Dir::State "{work}"; Dir::State::status "{work}/status"; Dir::State::extended_states "{work}/extended";\n'
            f'Dir::Cache "{work}"; Dir::Cache::pkgcache "pkgcache.bin"; Dir::Cache::srcpkgcache "srcpkgcache.bin";\n'
            f'#clear APT::Architectures;\nAPT::Architecture "{arch}"; APT::Architectures {{ {arches} }};\n'
        )
        (work / "apt.conf").write_text(config, encoding="utf-8")
        # -c is read after the user's own configuration, APT_CONFIG before it
        self._options = ["-c", str(work / "apt.conf")]
        self._run("apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any")

    def _stanza(self, mirror: Mirror, suite: str, sources: bool) -> str:
        self.bases.append(mirror.uri)
        kind = "deb-src" if sources else "deb"
        return f"Types: {kind}\nURIs: {mirror.uri}\nSuites: {suite}\nComponents: main\nSigned-By: {mirror.signed_by}\n"

    def essential(self) -> list[str]:
        """What every installation of this architecture has. apt's own pattern for it would bring the
        foreign architectures' along."""
        found = set()
        for stanza in self._run("apt-cache", "dumpavail").split("\n\n"):
            if "\nEssential: yes" in stanza:
                fields = _fields(stanza, "Package|Architecture")
                if fields.get("Architecture") in (self.arch, "all"):
                    found.add(fields["Package"])
        return sorted(found)

    def install(self, packages: Sequence[str], *, closed: bool) -> list[tuple[str, ...]]:
        """(name, version, arch, sha256, size, pool path) of everything an installation would get."""
        if closed:
            text = self._run("apt-get", "install", "--print-uris", "-q", "-y", *packages)
        else:
            text = self._run("apt-get", "download", "--print-uris", "-qq", *packages)
        files = [match[2] for match in map(_URI.match, text.splitlines()) if match]
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
            fields = _fields(stanza, "Package|Version|Architecture|SHA256|Size|Filename")
            if len(fields) == 6:
                key = (fields["Package"], fields["Version"], fields["Architecture"])
                found[key] = (*key, fields["SHA256"], fields["Size"], fields["Filename"])
        missing = [one for one in wanted if one not in found]
        if missing:
            raise FetchError(f"apt has no record of {' '.join(missing[0])} with a SHA-256")
        return [found[one] for one in wanted]

    def source(self, package: str) -> tuple[str, ...]:
        """(package, upstream version, file, sha256, size, pool path) of a source package's main archive."""
        text = self._run("apt-get", "source", "--download-only", "--print-uris", "-qq", package)
        for form in (_UPSTREAM.search, _NATIVE.fullmatch):
            for uri, file, size, sha256 in _uris(text):
                if form(file) and sha256:
                    version = file.rpartition("_")[2].partition(".orig.")[0].partition(".tar.")[0]
                    return package, version, file, sha256, size, self._pool(uri)
        raise FetchError(f"the source package {package} has no upstream archive with a SHA-256")

    def _pool(self, uri: str) -> str:
        base = next(base for base in self.bases if uri.startswith(f"{base}/"))
        return unquote(uri.removeprefix(f"{base}/"))

    def _run(self, *argv: str) -> str:
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        try:
            done = subprocess.run([*argv, *self._options], env=env, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise FetchError(
                f"{argv[0]} is not here", hint="locking Debian packages needs apt; run it on Debian"
            ) from None
        if done.returncode:
            # unmet dependencies are told on standard output
            lines = [
                line.strip() for line in (done.stderr + done.stdout).splitlines() if line.startswith(("E:", "W:", " "))
            ]
            raise FetchError(f"{' '.join(argv[:2])} failed: {'; '.join(lines)[:2000] or done.stderr[:2000]}")
        return done.stdout


def _mirror_of(suite: str, known: Sequence[Mirror], etc: Path) -> Mirror:
    """The user's archive for a suite. The keyring must be here: without it apt could verify nothing."""
    for mirror in known:
        if mirror.serves(suite):
            if mirror.signed_by.startswith("/") and not Path(mirror.signed_by).is_file():
                hint = "install debian-archive-keyring" if mirror.signed_by == KEYRING else None
                raise FetchError(f"the keyring {mirror.signed_by} of {mirror.uri} is not here", hint=hint)
            return mirror
    raise FetchError(
        f"apt's sources below {etc} name no archive for {suite}", hint="add Debian's security archive to them"
    )


def _fields(stanza: str, names: str) -> dict[str, str]:
    return dict(re.findall(rf"^({names}): (.*)$", stanza, re.M))


def _uris(text: str) -> Iterator[tuple[str, str, str, str]]:
    for match in map(_URI.match, text.splitlines()):
        if match:
            yield match[1], match[2], match[3], match[4] or ""
