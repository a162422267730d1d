"""Git sources by commit id: the fetcher of ``git``.

Guarantees: the answer is exactly the tree of the pinned commit, without .git, as the repository stores
it: no line-end conversion, no filters, no keyword expansion, whatever the user's configuration says.
Submodules come at the commits the tree pins. A file kept in Git LFS is an error that names it, because
the commit does not hold its content.

params: ``commit`` (40 or 64 hex digits), ``submodules`` (bool). unkeyed: ``urls``. The user's git does
the talking, with the user's configuration (credentials, insteadOf); it is asked for the one commit, and
for everything only if the server does not serve commits by id.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from hermetic.errors import FetchError, HbError
from hermetic.fetch.git_login import Access, git_login
from hermetic.fetch.git_program import Failed, environment, git
from hermetic.fetch.git_proof import PROOF, USUAL_MODES
from hermetic.fetch.login import Login, login_of
from hermetic.fetch.spec import FetchReply, FetchRequest
from hermetic.fetch.transport import Refused, public_url
from hermetic.tree import check_name

PARALLEL = 4
NESTING = 8  # submodules inside submodules
LFS_MARK = b"version https://git-lfs."
LFS_SIZE = 1024  # bytes; pointers are shorter (Git LFS specification)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_SCHEMES = ("https", "http", "ssh", "git", "file", "")
# Names that git itself, on some file system, would take for its own folder (CVE-2014-9390 and kin).
_GIT_FOLDER = re.compile(r"\.git|git~[0-9]+|\.g\u200c?it", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a git tree, read recursively."""

    mode: str
    object_id: str
    path: str


def fetch(requests: Sequence[FetchRequest], work: Path) -> list[FetchReply]:
    """The fetcher of the operation ``git``."""

    def one(numbered: tuple[int, FetchRequest]) -> FetchReply:
        number, request = numbered
        folder = work / str(number)
        try:
            urls = [str(url) for url in request.unkeyed.get("urls", ())]
            submodules = bool(request.params.get("submodules", False))
            login = login_of(request)
            checkout(urls, str(request.params.get("commit")), submodules, folder, request.label, login)
        except HbError as error:
            return FetchReply(None, error if isinstance(error, FetchError) else FetchError(error.message))
        except OSError as error:  # a tree that names one thing twice, a full disk
            return FetchReply(None, FetchError(f"cannot write the tree of the commit: {error}"))
        return FetchReply(folder / "tree")

    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(one, enumerate(requests)))


def checkout(
    urls: Sequence[str], commit: str, submodules: bool, folder: Path, label: str = "", login: Login | None = None
) -> None:
    """Put the tree of ``commit`` at ``folder/tree``. ``login`` is for the hosts of ``urls``, also where they keep
    submodules. Raises FetchError naming every address tried."""
    if not _COMMIT.fullmatch(commit):
        raise FetchError(
            f"not a commit id: {commit!r}",
            label=label,
            hint="pin all 40 (or 64) hex digits; branches and tags move: `git rev-parse TAG^{commit}` shows the id",
        )
    if not urls:
        raise FetchError(f"nothing says where to fetch commit {commit} from", label=label, hint="give url or urls")
    tree = folder / "tree"
    tree.mkdir(parents=True)
    with git_login(login, urls) as access:
        writer = _Writer(folder, submodules, access)
        writer.add(urls, commit, (), 0)
    if writer.pointers:
        raise FetchError(
            f"commit {commit} keeps {len(writer.pointers)} file(s) in Git LFS, and the commit does not hold their "
            f"content: {', '.join(writer.pointers[:10])}",
            label=label,
            hint="fetch those files by http_file with their sha256, or use a release archive that holds them",
        )
    writer.finish()
    (folder / PROOF).write_text(json.dumps(writer.proof))


class _Writer:
    """Collects a commit and its submodules into one folder. Symbolic links are made last, so that no
    file can be written through one."""

    def __init__(self, folder: Path, submodules: bool, access: Access) -> None:
        self.folder, self.submodules, self.access = folder, submodules, access
        self.links: list[tuple[Path, bytes]] = []
        self.pointers: list[str] = []
        self.repositories = 0
        self.proof: dict[str, dict[str, Any]] = {}  # what hermetic.fetch.git_proof checks, by folder

    def add(self, urls: Sequence[str], commit: str, below: tuple[str, ...], depth: int) -> None:
        repository, url = self._fetch(urls, commit)
        entries = list(_entries(repository, commit))
        root = self.folder.joinpath("tree", *below)
        modules = _modules(repository, commit, entries) if self.submodules else {}
        self.proof["/".join(below)] = {
            "commit": base64.b64encode(git(repository, "cat-file", "commit", commit)).decode(),
            "links": {entry.path: entry.object_id for entry in entries if entry.mode == "160000"},
            "modes": {entry.path: entry.mode for entry in entries if entry.mode not in USUAL_MODES},
        }
        for entry, content in _contents(repository, entries):
            names = _checked(entry.path)
            path = root.joinpath(*names)
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.mode == "160000":
                path.mkdir()
                if self.submodules:
                    self._submodule(entry, modules, url, (*below, *names), depth)
            elif entry.mode == "120000":
                self.links.append((path, content))
            else:
                self._file(path, entry, content)

    def _file(self, path: Path, entry: Entry, content: bytes) -> None:
        if len(content) < LFS_SIZE and content.startswith(LFS_MARK) and b"\noid sha256:" in content:
            self.pointers.append(str(path.relative_to(self.folder / "tree")))
        mode = 0o755 if entry.mode == "100755" else 0o644
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)

    def _submodule(
        self, entry: Entry, modules: Mapping[str, str], parent: str, below: tuple[str, ...], depth: int
    ) -> None:
        if depth >= NESTING:
            raise FetchError(f"submodules are nested more than {NESTING} deep at {'/'.join(below)}")
        if entry.path not in modules:
            raise FetchError(f"the submodule {entry.path!r} has no url in .gitmodules")
        self.add([_resolved(modules[entry.path], parent)], entry.object_id, below, depth + 1)

    def _fetch(self, urls: Sequence[str], commit: str) -> tuple[Path, str]:
        """A bare repository that has the commit, and the address it came from."""
        tried = []
        for url in urls:
            repository = self.folder / f"repository-{self.repositories}"
            self.repositories += 1
            try:
                _obtain(repository, url, commit, self.access)
                return repository, url
            except (Failed, Refused) as error:
                tried.append(f"{public_url(url)}: {error}")
        raise FetchError(
            f"cannot fetch commit {commit}; tried\n    " + "\n    ".join(tried),
            hint="check the address and the commit id (is it pushed?), or build with --vendor DIR",
        )

    def finish(self) -> None:
        for path, target in self.links:
            path.symlink_to(os.fsdecode(target))


def _obtain(repository: Path, url: str, commit: str, access: Access) -> None:
    scheme = urlsplit(url).scheme if "://" in url else ""
    if url.startswith("-") or "::" in url.split("/")[0] or scheme not in _SCHEMES:
        raise Failed("not an address git sources may have (https, http, ssh, git)")
    access.check(url)
    form = ["--object-format=sha256"] if len(commit) == 64 else []
    git(None, "init", "--quiet", "--bare", *form, str(repository))
    quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    try:
        git(repository, "fetch", *quiet, "--depth=1", "--", url, commit, access=access)
    except Failed as first:
        try:
            git(repository, "fetch", *quiet, "--", url, "+refs/*:refs/hb/*", access=access)
        except Failed:
            raise first from None
    try:
        git(repository, "cat-file", "-e", f"{commit}^{{commit}}")
    except Failed as error:
        raise Failed(f"has no commit {commit}") from error


def _entries(repository: Path, commit: str) -> Iterator[Entry]:
    for record in git(repository, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        if not record:
            continue
        about, _, raw = record.partition(b"\t")
        mode, _, object_id = about.decode().split(" ")
        try:
            yield Entry(mode, object_id, raw.decode())
        except UnicodeDecodeError as error:
            raise FetchError(f"commit {commit} has a file name that is not UTF-8: {raw!r}") from error


def _contents(repository: Path, entries: Sequence[Entry]) -> Iterator[tuple[Entry, bytes]]:
    """Every entry with its content, straight from the object store: no attribute applies there."""
    with subprocess.Popen(
        ["git", f"--git-dir={repository}", "cat-file", "--batch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise FetchError("git cat-file has no pipes")
        for entry in entries:
            if entry.mode == "160000":
                yield entry, b""
                continue
            process.stdin.write(f"{entry.object_id}\n".encode())
            process.stdin.flush()
            yield entry, _object(process.stdout, entry)
        process.stdin.close()


def _object(stream: IO[bytes], entry: Entry) -> bytes:
    head = stream.readline().split()
    if len(head) != 3 or head[1] != b"blob":
        raise FetchError(f"git does not have the content of {entry.path!r}")
    data = stream.read(int(head[2]))
    stream.read(1)
    return data


def _checked(path: str) -> tuple[str, ...]:
    names = tuple(path.split("/"))
    for name in names:
        check_name(name)
        if _GIT_FOLDER.fullmatch(name.rstrip(". ")):
            raise FetchError(f"the commit has a file in a folder named like git's own: {path!r}")
    return names


def _modules(repository: Path, commit: str, entries: Sequence[Entry]) -> dict[str, str]:
    """Submodule addresses by path, from the commit's .gitmodules."""
    if not any(entry.path == ".gitmodules" and entry.mode != "120000" for entry in entries):
        return {}
    found: dict[str, dict[str, str]] = {}
    try:
        listing = git(repository, "config", "--blob", f"{commit}:.gitmodules", "--list", "-z")
    except Failed as error:
        raise FetchError(f".gitmodules of {commit} cannot be read: {error}") from error
    for record in listing.split(b"\0"):
        key, _, value = record.decode("utf-8", "replace").partition("\n")
        section, _, rest = key.partition(".")
        name, _, option = rest.rpartition(".")
        if section == "submodule":
            found.setdefault(name, {})[option] = value
    return {module["path"]: module["url"] for module in found.values() if "path" in module and "url" in module}


def _resolved(url: str, parent: str) -> str:
    """A submodule's address; ``./`` and ``../`` are relative to the parent's (gitmodules(5))."""
    if not url.startswith(("./", "../")):
        if urlsplit(url).scheme == "file" and urlsplit(parent).scheme != "file":
            raise FetchError(f"a submodule may not point into this machine's files: {url!r}")
        if url.startswith("/") and not parent.startswith(("/", "file:")):
            raise FetchError(f"a submodule may not point into this machine's files: {url!r}")
        return url
    if "://" in parent:
        parts = urlsplit(parent)
        return urlunsplit(parts._replace(path=urljoin(parts.path.rstrip("/") + "/", url)))
    host, colon, path = parent.rpartition(":")
    return f"{host}{colon}" + os.path.normpath(f"{path.rstrip('/')}/{url}")
