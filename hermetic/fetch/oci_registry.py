"""Images by digest, from a registry or from an OCI layout on disk: the fetcher of ``oci``.

Guarantees: every manifest and blob is checked against its digest and size while it arrives; manifests
have at most 4 MiB; an image is complete or not there. The answer is a folder with an OCI layout.

params: ``digest`` (sha256:…) and optionally ``platform`` (os/architecture[/variant]) or ``arch`` (linux is
meant), which picks one manifest when the digest is an index's. unkeyed: ``refs``, tried in order:
``registry/repository[@digest]`` or the path of a layout (absolute, or beginning with ``oci:``).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from hermetic.digest import Digest, parse_sha256
from hermetic.errors import FetchError, HbError
from hermetic.fetch.http import Patience, retry_after
from hermetic.fetch.oci_layout import (
    INDEXES,
    LAYOUT,
    MANIFEST_LIMIT,
    MANIFESTS,
    NESTING,
    Descriptor,
    choose,
    document,
    layout_index,
    media_type_of,
    platform_of,
    references,
)
from hermetic.fetch.registry_auth import Login, authorization, is_local, login_for
from hermetic.fetch.spec import FetchReply, FetchRequest
from hermetic.fetch.transport import TRANSIENT, Client, Refused, Response, Transient

_REFERENCE = re.compile(
    r"(?P<registry>[a-zA-Z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?)/"
    r"(?P<repository>[a-z0-9]+([._/-]+[a-z0-9]+)*)(@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
T = TypeVar("T")
_WANT = ", ".join((*MANIFESTS, *INDEXES))


@dataclass(frozen=True, slots=True)
class Reference:
    registry: str
    repository: str

    @property
    def base(self) -> str:
        """Loopback registries are spoken to in the clear, all others by https."""
        host = str(urlsplit(f"//{self.registry}").hostname)
        return f"{'http' if is_local(host) else 'https'}://{self.registry}"

    @staticmethod
    def parse(text: str, pinned: str) -> Reference:
        match = _REFERENCE.fullmatch(text)
        if not match:
            raise Refused("is not registry/repository@sha256:… (tags are not pins)")
        if match["digest"] and match["digest"] != pinned:
            raise Refused(f"names another digest than the pinned {pinned}")
        return Reference(match["registry"], match["repository"])


def fetch(requests: Sequence[FetchRequest], work: Path) -> list[FetchReply]:
    """The fetcher of the operation ``oci``."""
    client = Client()
    replies = []
    for number, request in enumerate(requests):
        folder = work / str(number)
        try:
            pull(client, request.unkeyed.get("refs", ()), request.params, folder, Patience(), request.label)
            replies.append(FetchReply(folder))
        except HbError as error:
            replies.append(FetchReply(None, error if isinstance(error, FetchError) else FetchError(error.message)))
    return replies


def pull(
    client: Client,
    refs: Sequence[str],
    params: Mapping[str, Any],
    folder: Path,
    patience: Patience,
    label: str = "",
) -> None:
    """Make ``folder`` an OCI layout of the pinned image. Raises FetchError naming every place tried."""
    pinned = f"sha256:{parse_sha256(str(params.get('digest')))}"
    platform = platform_of(params)
    if not refs:
        raise FetchError(f"nothing says where to pull {pinned} from", label=label, hint="give refs in the BUILD.py")
    tried = []
    for ref in refs:
        try:
            source = _source(client, ref, pinned, patience)
            _copy(source, pinned, platform, folder)
            return
        except (Refused, Transient, FetchError) as error:
            tried.append(f"{ref}: {error}")
    raise FetchError(
        f"cannot pull {pinned}; tried\n    " + "\n    ".join(tried),
        label=label,
        hint="check the reference and `podman login`, or build with --vendor DIR from a vendored copy",
    )


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image comes from. ``manifest``: bytes and media type by digest. ``blob``: copy one to a
    path; the caller checks it."""

    manifest: Callable[[str], tuple[bytes, str]]
    blob: Callable[[Digest, Path], None]


def _source(client: Client, ref: str, pinned: str, patience: Patience) -> Source:
    if ref.startswith(("oci:", "/")):
        return _layout_source(Path(ref.removeprefix("oci:")))
    return _Registry(client, Reference.parse(ref, pinned), patience).source()


def _copy(source: Source, pinned: str, platform: str, folder: Path) -> None:
    """Everything the pinned manifest leads to, blobs first, the layout's index last."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    data, media_type = source.manifest(pinned)
    top = _keep_manifest(data, media_type, pinned, blobs)
    if top.is_index and platform:
        top = choose(document(data, media_type, pinned), platform, pinned)
    pending = [(top, 0)]
    seen: set[str] = set()
    while pending:
        item, depth = pending.pop()
        if item.digest.hash in seen:
            continue
        seen.add(item.digest.hash)
        if depth > NESTING:
            raise Refused(f"indexes are nested more than {NESTING} deep")
        if item.is_index or item.is_manifest:
            inner, inner_type = source.manifest(item.digest.oci)
            if _keep_manifest(inner, inner_type, item.digest.oci, blobs).digest != item.digest:
                raise Refused(f"{item.digest.oci} has {len(inner)} bytes, expected {item.digest.size}")
            content = document(inner, item.media_type, item.digest.oci)
            pending += [(found, depth + 1) for found in references(content, item.digest.oci)]
        else:
            _keep_blob(source, item, blobs)
    (folder / "oci-layout").write_bytes(LAYOUT)
    (folder / "index.json").write_bytes(layout_index(top))


def _keep_manifest(data: bytes, media_type: str, wanted: str, blobs: Path) -> Descriptor:
    found = Digest.of(data)
    if found.oci != wanted:
        raise Refused(f"gives {found.oci} for {wanted}")
    document(data, media_type, wanted)
    (blobs / found.hash).write_bytes(data)
    return Descriptor(media_type, found, {})


def _keep_blob(source: Source, item: Descriptor, blobs: Path) -> None:
    path = blobs / item.digest.hash
    if not path.exists():
        source.blob(item.digest, path)
    with path.open("rb") as file:
        found = Digest(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size)
    if found != item.digest:
        path.unlink()
        raise Refused(f"gives {found} for the blob {item.digest}")


def _layout_source(folder: Path) -> Source:
    """An OCI layout on this machine. Its files are opened without following links below ``blobs``."""

    def open_blob(digest: str) -> int:
        path = folder / "blobs" / "sha256" / parse_sha256(digest)
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(f"has no blob {digest} ({error.strerror})") from error

    def manifest(digest: str) -> tuple[bytes, str]:
        with os.fdopen(open_blob(digest), "rb") as file:
            data = file.read(MANIFEST_LIMIT + 1)
        return data, media_type_of(data)

    def blob(digest: Digest, path: Path) -> None:
        with os.fdopen(open_blob(digest.hash), "rb") as file, path.open("wb") as sink:
            while data := file.read(1 << 20):
                sink.write(data)

    return Source(manifest, blob)


@dataclass(slots=True)
class _Registry:
    """One repository of one registry (OCI distribution specification 1.1, pull)."""

    client: Client
    ref: Reference
    patience: Patience
    _authorization: str = ""
    _login: Login = field(init=False)

    def __post_init__(self) -> None:
        self._login = login_for(self.ref.registry, self.ref.repository, self.client.environ)

    def source(self) -> Source:
        return Source(self._manifest, self._blob)

    def _manifest(self, digest: str) -> tuple[bytes, str]:
        def read(response: Response) -> tuple[bytes, str]:
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            return response.body(MANIFEST_LIMIT), media_type

        return self._get(f"manifests/{digest}", {"Accept": _WANT}, read)

    def _blob(self, digest: Digest, path: Path) -> None:
        def read(response: Response) -> None:
            size = 0
            with path.open("wb") as sink:
                for piece in response.pieces():
                    size += len(piece)
                    if size > digest.size:
                        raise Refused(f"sends more than the {digest.size} bytes of {digest.oci}")
                    sink.write(piece)
            if size < digest.size:
                raise Transient(f"sends {size} of the {digest.size} bytes of {digest.oci}")

        self._get(f"blobs/{digest.oci}", {}, read)

    def _get(self, what: str, headers: Mapping[str, str], read: Callable[[Response], T]) -> T:
        last = Transient("not tried")
        for attempt in range(self.patience.attempts):
            if attempt:
                self.patience.wait(attempt - 1, last.after)
            try:
                return self._once(f"{self.ref.base}/v2/{self.ref.repository}/{what}", what, headers, read)
            except Transient as error:
                last = error
                if error.after > 60:
                    break
        raise Refused(f"{what}: {last} (asked {attempt + 1} times)")

    def _once(self, url: str, what: str, headers: Mapping[str, str], read: Callable[[Response], T]) -> T:
        for fresh in (False, True):
            sent = {**headers, "Authorization": self._authorization} if self._authorization else dict(headers)
            with self.client.request("GET", url, sent) as response:
                if response.status == 401 and not fresh:
                    challenge = response.headers.get("WWW-Authenticate", "")
                elif response.status in TRANSIENT:
                    raise Transient(f"answers {response.status}", retry_after(response))
                elif response.status != 200:
                    raise Refused(f"{what}: answers {response.status}")
                else:
                    return read(response)
            self._authorization = authorization(challenge, self.ref.base, self.ref.repository, self._login, self.client)
        raise Refused(f"{what}: answers 401 again and again")
