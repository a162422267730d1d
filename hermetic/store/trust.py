"""Whose results may be used: Ed25519 keys, DSSE envelopes, policies.

Guarantees: a payload is handed out only after a signature over it and its type was verified with a key
the policy names; nothing in it is parsed before. Key identifiers only help to find a key, they prove
nothing.

A public key is written ``ed25519:<base64 of 32 bytes>``. A private key is a PKCS #8 PEM.
Sources: the DSSE 1.0 protocol (pre-authentication encoding), RFC 8032.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermetic.errors import CommandLineError, StoreError
from hermetic.proto import hb_pb2

KIND = "ed25519:"
VARIABLE = "HB_CACHE_SIGNING_KEY"
DEFAULT = "default"
RELEASE = "release"  # refuses what a compile cache made unless it says otherwise


class Untrusted(StoreError):
    """A result whose writer the policy does not know, or whose signature does not hold."""


@dataclass(frozen=True)
class PublicKey:
    raw: bytes

    @property
    def id(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def __str__(self) -> str:
        return KIND + base64.b64encode(self.raw).decode()

    @staticmethod
    def parse(text: str) -> PublicKey:
        try:
            raw = base64.b64decode(text.strip().removeprefix(KIND), validate=True)
        except ValueError:
            raw = b""
        if not text.strip().startswith(KIND) or len(raw) != 32:
            raise CommandLineError(f"{text!r} is not a public key", hint=f"hb cache keygen prints one: {KIND}…")
        return PublicKey(raw)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key."""

    def __init__(self, pem: bytes, origin: str) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            key: Any = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise CommandLineError(f"{origin} is not an Ed25519 private key", hint="hb cache keygen makes one")
        self._key = key
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        self.public = PublicKey(key.public_key().public_bytes(*raw))

    def sign(self, payload: bytes, payload_type: str) -> hb_pb2.Envelope:
        envelope = hb_pb2.Envelope(payload=payload, payload_type=payload_type)
        envelope.signatures.add(sig=self._key.sign(encoding(payload, payload_type)), keyid=self.public.id)
        return envelope


@dataclass(frozen=True)
class Policy:
    """A set of keys with a name. ``keys`` by identifier. ``compile_cache``: whether results made with one
    may be used, and made."""

    name: str
    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    compile_cache: bool = True

    @staticmethod
    def of(name: str, keys: Sequence[PublicKey]) -> Policy:
        return Policy(name, {key.id: key for key in keys})

    def opened(self, envelope: hb_pb2.Envelope, payload_type: str) -> tuple[bytes, str]:
        """The payload and the identifier of the known key that signed it. Raises Untrusted saying who did."""
        if not envelope.signatures:
            raise Untrusted("it is not signed")
        message = encoding(envelope.payload, envelope.payload_type)
        for signature in envelope.signatures[:8]:
            key = self.keys.get(signature.keyid)
            if key is not None and key.verifies(signature.sig, message):
                if envelope.payload_type != payload_type:
                    raise Untrusted(f"it is of the type {envelope.payload_type!r}")
                return envelope.payload, key.id
        signer = envelope.signatures[0].keyid[:64]
        if signer in self.keys:
            raise Untrusted(f"its signature by {signer} is wrong")
        raise Untrusted(f"it is signed by {signer!a}, a key the policy {self.name!r} does not name")


def encoding(payload: bytes, payload_type: str) -> bytes:
    """What is signed: DSSE's pre-authentication encoding, in which no two pairs look the same."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def generate() -> tuple[bytes, PublicKey]:
    """A new private key as PEM, and its public half."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, Signer(pem, "a new key").public


def write_key(path: Path, pem: bytes) -> None:
    """A private key's file: readable by its owner only, never one that exists already."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise CommandLineError(f"{path} exists", hint="choose another name, or move it away first") from None
    with os.fdopen(handle, "wb") as stream:
        stream.write(pem)


def find_signer(file: Path | None, own: Path, environ: Mapping[str, str] = os.environ) -> Signer | None:
    """The first of: $HB_CACHE_SIGNING_KEY (a PEM, or a path), $HB_CACHE_SIGNING_KEY_COMMAND (a command
    that prints a PEM, as key-management tools do), ``file``, and a person's own key. No file of a
    workspace can name a command: it would run outside every sandbox."""
    text = environ.get(VARIABLE, "")
    if "BEGIN" in text:
        return Signer(text.encode(), f"${VARIABLE}")
    if text:
        return _from_file(Path(text))
    command = shlex.split(environ.get(f"{VARIABLE}_COMMAND", ""))
    if command:
        return _from_command(command)
    if file is not None:
        return _from_file(file)
    return _from_file(own) if own.exists() else None


def own_key(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a person's own key is."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "hb" / "cache-signing.pem"


def _from_file(path: Path) -> Signer:
    try:
        return Signer(path.expanduser().read_bytes(), str(path))
    except OSError as error:
        hint = f"hb cache keygen --output {path} makes one"
        raise CommandLineError(f"the signing key {path} cannot be read: {error.strerror}", hint=hint) from None


def _from_command(command: Sequence[str]) -> Signer:
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise CommandLineError(f"the signing key's command {command[0]!r} failed: {type(error).__name__}") from None
    return Signer(done.stdout, f"what {command[0]!r} printed")
