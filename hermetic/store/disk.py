"""The store on disk, in Bazel's ``--disk_cache`` layout.

    <root>/cas/ab/abcd…     blobs by SHA-256, mode 0444
    <root>/exec/ab/abcd…    the same content with mode 0555, for staging executables
    <root>/ac/ab/abcd…      ActionResult messages by action key
    <root>/stage/ab/abcd…   trees made real (hermetic.store.stage)
    <root>/derived/…        what can be made again from the CAS (compressed layers)
    <root>/tmp/…            files on their way in

Guarantees: a blob appears by rename, complete or not at all; nothing is synced, so after a power
failure a file may be short or wrong. A blob whose size is wrong, or whose bytes are wrong when they
are read, is dropped and counts as missing: the store heals by having it made again. Many processes
may share a store: names are contents, and renames are atomic.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hermetic.digest import CHUNK, EMPTY, Digest
from hermetic.errors import StoreError
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.protocols import MissingBlob

VERSION = "1\n"
CACHED = 256 << 10  # bytes that are still in the processor's cache when they are written, after they were hashed
TOMBS = "evicted"  # keys whose results were removed to make room
_FOLDERS = ("cas", "exec", "ac", "stage", "derived", "tmp")


class DiskStore:
    """CAS and action cache below ``root``, which is made when it does not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = f"{root}/cas"
        self._token = f"put-{os.getpid()}-{os.urandom(6).hex()}"
        self._numbers = itertools.count()
        with _explained(root):
            try:
                for folder in _FOLDERS:
                    (root / folder).mkdir(parents=True, exist_ok=True)
            except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
                hint = "choose another folder with --store, $HB_STORE, or store in [tool.hb]"
                raise StoreError(f"the store {root} cannot be made: {error.strerror}", hint=hint) from None
            _check_version(root)

    # --- blobs ----------------------------------------------------------------------------------

    def read(self, digest: Digest) -> bytes:
        if digest.size == 0:
            return b""
        try:
            with open(self._name(digest), "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            raise MissingBlob(digest) from None
        if len(data) != digest.size or hashlib.sha256(data).hexdigest() != digest.hash:
            self._drop(digest)
            raise MissingBlob(digest)
        return data

    def open(self, digest: Digest) -> BinaryIO:
        self._require(digest)
        try:
            return self._cas(digest).open("rb")
        except FileNotFoundError:
            raise MissingBlob(digest) from None

    def has(self, digest: Digest) -> bool:
        try:
            return os.stat(self._name(digest)).st_size == digest.size
        except FileNotFoundError:
            return digest.size == 0

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        return [digest for digest in dict.fromkeys(digests) if not self.has(digest)]

    def find_sha256(self, sha256: str) -> Digest | None:
        """The blob with this hash, whatever its size, or None. Pins know no sizes."""
        try:
            return Digest(sha256, os.stat(self.root / "cas" / sha256[:2] / sha256).st_size)
        except FileNotFoundError:
            return EMPTY if sha256 == EMPTY.hash else None

    def put(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        if not self.has(digest):
            with _explained(self.root):
                self._write(data, digest)
        return digest

    def _write(self, data: bytes, digest: Digest) -> None:
        """The hot loop of trees with many small files: no more calls than it takes."""
        temporary = f"{self.root}/tmp/{self._token}-{next(self._numbers)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            with open(handle, "wb", buffering=0) as stream:
                os.fchmod(handle, 0o444)  # whatever the umask
                left = memoryview(data)
                while left:
                    left = left[stream.write(left) :]
            _place(temporary, self._name(digest))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def put_stream(self, stream: BinaryIO, expect: Digest | None = None) -> Digest:
        state, size = hashlib.sha256(), 0
        with self._incoming() as (out, temporary):
            while chunk := stream.read(CACHED):
                state.update(chunk)
                out.write(chunk)
                size += len(chunk)
            out.flush()
            digest = Digest(state.hexdigest(), size)
            if expect is not None and digest != expect:
                raise StoreError(f"content has digest {digest}, not {expect}")
            self._admit(temporary, digest)
        return digest

    def put_file(self, path: Path, *, take: bool = False) -> Digest:
        """Store a regular file's content. With ``take`` its inode moves into the store when it can."""
        with path.open("rb") as stream:
            if not take:
                start = stream.read(CHUNK)
                if len(start) < CHUNK:
                    return self.put(start)  # which does not write what is here already, as most logs are
                stream.seek(0)
                return self.put_stream(stream)
            digest = Digest.of_file(stream)
        if not self.has(digest):
            try:
                temporary = self.root / "tmp" / f"take-{os.getpid()}-{threading.get_ident()}-{digest.hash}"
                path.rename(temporary)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with path.open("rb") as stream:
                    return self.put_stream(stream, digest)
            self._admit(temporary, digest)
        return digest

    def adopt(self, path: Path, digest: Digest) -> None:
        """Take in a finished file of this store's ``tmp`` folder whose bytes were hashed while it was written."""
        with _explained(self.root):
            self._admit(path, digest)

    def path(self, digest: Digest, *, executable: bool = False) -> Path:
        self._require(digest)
        path = self._cas(digest)
        if digest.size == 0 and not path.exists():
            with self._incoming() as (_, temporary):
                self._admit(temporary, digest)
        return self._twin(digest, path) if executable else path

    def _twin(self, digest: Digest, path: Path) -> Path:
        twin = self.root / "exec" / digest.hash[:2] / digest.hash
        try:
            if os.stat(twin).st_size == digest.size:
                return twin
        except FileNotFoundError:
            pass
        with self._incoming() as (out, temporary), path.open("rb") as source:
            shutil.copyfileobj(source, out, CACHED)
            out.flush()
            temporary.chmod(0o555)
            _place(temporary, twin)
        return twin

    def want_tree(self, root: Digest) -> None:
        """A tree is about to be read as a whole. A store with a remote behind it brings what is missing."""

    def _name(self, digest: Digest) -> str:
        """A blob's path as text: hits look at tens of thousands of them."""
        return f"{self._blobs}/{digest.hash[:2]}/{digest.hash}"

    def _cas(self, digest: Digest) -> Path:
        return Path(self._name(digest))

    def _require(self, digest: Digest) -> None:
        if self.has(digest):
            return
        self._drop(digest)
        raise MissingBlob(digest)

    def _drop(self, digest: Digest) -> None:
        for kind in ("cas", "exec"):
            with suppress(FileNotFoundError):
                (self.root / kind / digest.hash[:2] / digest.hash).unlink()

    def _admit(self, temporary: Path, digest: Digest) -> None:
        temporary.chmod(0o444)
        _place(temporary, self._cas(digest))

    @contextmanager
    def _incoming(self) -> Iterator[tuple[BinaryIO, Path]]:
        with _explained(self.root):
            handle, name = tempfile.mkstemp(dir=self.root / "tmp")
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as stream:
                    yield stream, temporary
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()

    # --- results --------------------------------------------------------------------------------

    def get(self, key: Digest) -> pb.ActionResult | None:
        """The result stored under ``key``; a torn or unreadable one counts as absent."""
        try:
            data = (self.root / "ac" / key.hash[:2] / key.hash).read_bytes()
            return pb.ActionResult.FromString(data) if data else None
        except FileNotFoundError:
            return None
        except Exception:  # protobuf raises DecodeError, which has no stable public base
            return None

    def was_evicted(self, key: Digest) -> bool:
        """See ``ActionCache``; the tombstones are hermetic.store.gc's."""
        try:
            (self.root / TOMBS / key.hash[:2] / key.hash).unlink()
        except OSError:
            return False
        return True

    def has_result(self, key: str) -> bool:
        """Whether there is a result under the key with this hash."""
        return os.path.exists(f"{self.root}/ac/{key[:2]}/{key}")

    def put_result(self, key: Digest, result: pb.ActionResult) -> None:
        with self._incoming() as (stream, temporary):
            stream.write(result.SerializeToString(deterministic=True))
            stream.flush()
            temporary.chmod(0o644)
            _rename_into(temporary, self.root / "ac" / key.hash[:2] / key.hash)


def _place(temporary: str | Path, place: str | Path) -> None:
    """Give a finished file its name, unless it is there already: a blob that were replaced by its equal
    would lose its last link while another thread makes one of it."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        if os.stat(place).st_size != os.stat(temporary).st_size:
            os.replace(temporary, place)  # torn: this one is whole
            return
    except FileNotFoundError:
        if not os.path.exists(temporary):
            raise
        os.makedirs(os.path.dirname(place), exist_ok=True)
        _place(temporary, place)
        return
    except OSError:  # no hard links here, or too many
        _rename_into(temporary, place)
        return
    with suppress(FileNotFoundError):
        os.unlink(temporary)


def _rename_into(temporary: str | Path, place: str | Path) -> None:
    try:
        os.replace(temporary, place)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.replace(temporary, place)


def _check_version(root: Path) -> None:
    path = root / "version"
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    if not found:  # renamed into place, so that nobody meets a half-written version
        handle, name = tempfile.mkstemp(dir=root / "tmp")
        with os.fdopen(handle, "w") as stream:
            stream.write(VERSION)
        os.chmod(name, 0o644)
        os.replace(name, path)
        return
    if found != VERSION:
        raise StoreError(
            f"the store {root} has format {found.strip()!r}; this hb knows format {VERSION.strip()}",
            hint="use the hb that made it, or another store with --store",
        )


_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space, or use a store on another disk with --store"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or use a store elsewhere with --store"),
    errno.EROFS: ("the file system is read-only", "use a store you can write with --store"),
    errno.EACCES: ("permission denied", "use a store of your own with --store"),
    errno.EPERM: ("permission denied", "use a store of your own with --store"),
}


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turn the operating system's refusals into errors that say what to do."""
    try:
        yield
    except OSError as error:
        refused = refusal(root, error)
        if refused is None:
            raise
        raise refused from error


def refusal(root: Path, error: OSError) -> StoreError | None:
    """What the operating system's refusal means for a store, or None for another kind of error."""
    if error.errno not in _REASONS:
        return None
    reason, hint = _REASONS[error.errno]
    return StoreError(f"the store {root} cannot be written: {reason}", hint=hint)
