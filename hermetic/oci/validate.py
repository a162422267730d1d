"""A strict reader of OCI layouts: everything that is wrong with one, as a list.

Checks what registries and runtimes rely on and rarely verify: digests and sizes of every blob, diff ids
both ways, media types that agree wherever they are said, one platform per manifest, no repeated layer,
JSON that has one reading, layers whose members mean the same to every tool, nothing that no
descriptor leads to. Never follows a link, never trusts a size before it is checked.
Source: OCI image specification 1.1.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from hermetic.digest import CHUNK
from hermetic.oci import validate_fields as fields
from hermetic.oci.compress import MEDIA_TYPES
from hermetic.oci.image import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE, MAX_LAYERS
from hermetic.oci.validate_fields import DIGEST, REF_NAME
from hermetic.oci.validate_layer import Layers

MAX_DOCUMENT = 4 << 20  # bytes: what registries take at most as a manifest
NESTING = 2  # indexes inside indexes


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where in the layout."""

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


def validate_layout(path: Path) -> list[Finding]:
    """Every finding; an empty list means the layout is sound."""
    return list(_Reader(path).findings())


class _Bad(Exception):
    """A file that cannot be judged further; its text is the problem."""


@dataclass
class _Reader:
    path: Path
    reached: set[str] = field(default_factory=set)  # digests that some descriptor leads to

    def findings(self) -> Iterator[Finding]:
        try:
            self._folders()
            version = self._document("oci-layout")
            index = self._document("index.json")
        except _Bad as bad:
            yield Finding("layout", str(bad))
            return
        if not isinstance(version, dict) or version.get("imageLayoutVersion") != "1.0.0":
            yield Finding("oci-layout", f"has version {version!r:.80}, not 1.0.0")
        problems = list(self._index(index, "index.json", 0, frozenset()))
        yield from problems
        yield from self._strangers()
        if not problems:  # else what is reached says nothing
            yield from self._unreached()

    def _folders(self) -> None:
        for name in ("", "blobs", "blobs/sha256"):
            place = self.path / name
            if not place.is_dir() or (name and place.is_symlink()):
                raise _Bad(f"{name or '.'} is not a folder")

    def _strangers(self) -> Iterator[Finding]:
        for folder, known in (("", {"oci-layout", "index.json", "blobs"}), ("blobs", {"sha256"})):
            for name in sorted(set(os.listdir(self.path / folder)) - known):
                yield Finding(folder or "layout", f"holds {name!r}, which no layout has")

    def _unreached(self) -> Iterator[Finding]:
        """Blobs that nothing refers to: runtimes ignore them, scanners do not see them, registries lose them."""
        for name in sorted(os.listdir(self.path / "blobs/sha256")):
            if f"sha256:{name}" not in self.reached:
                yield Finding("blobs/sha256", f"holds {name[:19]!r}, which nothing refers to")

    # --- documents ------------------------------------------------------------------------------

    def _index(self, index: Any, where: str, depth: int, above: frozenset[str]) -> Iterator[Finding]:
        if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
            yield Finding(where, "has no list of manifests")
            return
        if "layers" in index or "config" in index:
            yield Finding(where, "is an index and a manifest at once")
        yield from self._head(index, INDEX_TYPE, fields.INDEX, where)
        entries = index["manifests"]
        yield from _told_apart(entries, where)
        for entry in entries:
            problems = list(self._descriptor(entry, where))
            yield from problems
            if problems:
                continue
            digest = entry["digest"]
            if digest in above or depth >= NESTING:
                yield Finding(where, f"names {digest[:19]} more than {NESTING} indexes deep, or inside itself")
                continue
            yield from self._entry(entry, where, depth, above | {digest})

    def _entry(self, entry: Mapping[str, Any], where: str, depth: int, above: frozenset[str]) -> Iterator[Finding]:
        digest = entry["digest"]
        if entry["mediaType"] not in (INDEX_TYPE, MANIFEST_TYPE):
            yield Finding(where, f"names a manifest of mediaType {entry['mediaType']!r}")
            return
        try:
            document = self._document(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        except _Bad as bad:
            yield Finding(digest[:19], str(bad))
            return
        if entry["mediaType"] == INDEX_TYPE:
            yield from self._index(document, digest[:19], depth + 1, above)
        else:
            yield from self._manifest(document, digest[:19], entry)

    def _head(self, document: Mapping[str, Any], kind: str, known: tuple[str, ...], where: str) -> Iterator[Finding]:
        """What manifests and indexes have in common."""
        if type(document.get("schemaVersion")) is not int or document["schemaVersion"] != 2:
            yield Finding(where, f"has schemaVersion {document.get('schemaVersion')!r}, not 2")
        if document.get("mediaType", kind) != kind:
            yield Finding(where, f"says it is {document['mediaType']!r}, its place says {kind!r}")
        for problem in (*fields.spelling(document, known), *fields.notes(document)):
            yield Finding(where, problem)
        if "subject" in document and _unusable(document["subject"]):
            yield Finding(where, f"has a subject that is no descriptor: {document['subject']!r:.80}")

    def _manifest(self, manifest: Any, where: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
        if not isinstance(manifest, dict) or not isinstance(manifest.get("layers"), list):
            yield Finding(where, "has no list of layers")
            return
        if "manifests" in manifest:
            yield Finding(where, "is an index and a manifest at once")
        yield from self._head(manifest, MANIFEST_TYPE, fields.MANIFEST, where)
        layers = manifest["layers"]
        if not 0 < len(layers) <= MAX_LAYERS:
            yield Finding(where, f"has {len(layers)} layers; runtimes take 1 to {MAX_LAYERS}")
        parts = (manifest.get("config"), *layers)
        problems = [one for part in parts for one in self._descriptor(part, where)]
        yield from problems
        if problems:
            return
        kind = manifest["config"]["mediaType"]
        if kind != CONFIG_TYPE:
            yield Finding(where, f"has a configuration of mediaType {kind!r}, not {CONFIG_TYPE!r}")
            return
        digest = manifest["config"]["digest"]
        try:
            config = self._document(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        except _Bad as bad:
            yield Finding(digest[:19], str(bad))
            return
        yield from self._config(layers, config, digest[:19], entry.get("platform"))

    def _config(self, layers: list[Any], config: Any, where: str, platform: Any) -> Iterator[Finding]:
        if not isinstance(config, dict) or not isinstance(config.get("rootfs"), dict):
            yield Finding(where, "is a configuration without a rootfs")
            return
        if config["rootfs"].get("type") != "layers":
            yield Finding(where, f"has a rootfs of type {config['rootfs'].get('type')!r}, not 'layers'")
        problems = list(fields.config(config))
        yield from (Finding(where, problem) for problem in problems)
        for name in ("architecture", "os", "variant") if platform else ():
            if platform.get(name) != config.get(name):
                yield Finding(where, f"is for {config.get(name)!r}, its descriptor says {platform.get(name)!r}")
        diff_ids = config["rootfs"].get("diff_ids")
        if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
            count = len(diff_ids) if isinstance(diff_ids, list) else diff_ids
            yield Finding(where, f"has {count} diff ids for {len(layers)} layers")
            return
        if config.get("history") and not any("history" in problem for problem in problems):
            steps = [step for step in config["history"] if not step.get("empty_layer")]
            if len(steps) != len(layers):
                yield Finding(where, f"has {len(steps)} history steps for {len(layers)} layers")
        yield from self._layers(layers, diff_ids, where)

    def _layers(self, layers: list[Any], diff_ids: list[Any], where: str) -> Iterator[Finding]:
        for what, found in (("layer", [one["digest"] for one in layers]), ("diff id", diff_ids)):
            if len({str(one) for one in found}) != len(found):
                yield Finding(where, f"has a {what} twice")
        reader = Layers()
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            name = layer["digest"][:19]
            if not isinstance(diff_id, str) or not DIGEST.fullmatch(diff_id):
                yield Finding(where, f"has the diff id {diff_id!r:.100}")
            elif layer["mediaType"] not in MEDIA_TYPES.values():
                yield Finding(name, f"is a layer of mediaType {layer['mediaType']!r}")
            else:
                with self._open(f"blobs/sha256/{layer['digest'].removeprefix('sha256:')}") as blob:
                    yield from (Finding(name, one) for one in reader.read(blob, layer["mediaType"], diff_id))

    # --- blobs ----------------------------------------------------------------------------------

    def _descriptor(self, entry: Any, where: str) -> Iterator[Finding]:
        """A descriptor, and the blob it names."""
        if problem := _unusable(entry):
            yield Finding(where, problem)
            return
        digest, size = entry["digest"], entry["size"]
        self.reached.add(digest)
        yield from (Finding(where, problem) for problem in fields.descriptor(entry))
        try:
            blob = self._open(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        except _Bad as bad:
            yield Finding(where, str(bad))
            return
        with blob:
            actual = os.fstat(blob.fileno()).st_size
            if actual != size:
                yield Finding(where, f"gives {digest[:19]} the size {size}, it has {actual}")
            elif _sha256(blob) != digest:
                yield Finding(digest[:19], "does not have the digest of its name")

    def _open(self, name: str) -> BinaryIO:
        """A regular file of the layout, never by a link, never waiting for the other end of a pipe."""
        try:
            fd = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _Bad(f"{_short(name)} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _Bad(f"{_short(name)} is not a regular file")
        return os.fdopen(fd, "rb")

    def _document(self, name: str) -> Any:
        with self._open(name) as stream:
            data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise _Bad(f"{_short(name)} is larger than the {MAX_DOCUMENT} bytes registries take")
        try:
            found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant)
            json.dumps(found, ensure_ascii=False).encode()  # halves of surrogate pairs are no text
        except (ValueError, RecursionError) as error:
            raise _Bad(f"{_short(name)} is not JSON with one meaning: {error}") from error
        return found


def _unusable(entry: Any) -> str:
    """Why ``entry`` names no blob; "" when it does."""
    if not isinstance(entry, dict):
        return f"has a descriptor that is no object: {entry!r:.80}"
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        return f"names the digest {digest!r:.100}"
    if type(size) is not int or not 0 <= size < 1 << 63:
        return f"gives {digest[:19]} the size {size!r}"
    return ""


def _told_apart(entries: list[Any], where: str) -> Iterator[Finding]:
    """Several manifests of one index must differ in platform, and no two may have one name."""
    usable = [entry for entry in entries if not _unusable(entry)]
    platforms = [json.dumps(entry.get("platform"), sort_keys=True) for entry in usable]
    if len(platforms) != len(set(platforms)):
        yield Finding(where, "has two manifests for one platform")
    elif len(usable) > 1 and "null" in platforms:
        yield Finding(where, "has several manifests, and one of them is for no platform")
    notes = [entry["annotations"] for entry in usable if isinstance(entry.get("annotations"), dict)]
    names = [str(note[REF_NAME]) for note in notes if REF_NAME in note]
    if len(names) != len(set(names)):
        yield Finding(where, "has two manifests of one reference name")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it says {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _short(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"sha256:{last[:12]}" if folder else name


def _sha256(stream: BinaryIO) -> str:
    state = hashlib.sha256()
    while piece := stream.read(CHUNK):
        state.update(piece)
    return f"sha256:{state.hexdigest()}"
