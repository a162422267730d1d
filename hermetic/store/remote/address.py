"""Where a remote is: one URL.

    s3://bucket/prefix?endpoint=https://host:port&region=eu-central-1
    http(s)://[user:password@]host:port/path
    grpc(s)://host:port/instance

Query options: ``mode`` (read, write, read-write, off), ``zone``, ``endpoint`` and ``region`` (S3),
``ca``, ``cert`` and ``key`` (files of PEM, for grpcs and https), ``timeout`` (seconds without an answer),
``header`` (``Name:Value``, may be repeated). A password or token is better kept out of command lines:
$HB_CACHE_TOKEN is sent as a bearer token, and ``header`` values may be ``$NAME`` of an environment variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from hermetic.errors import CommandLineError, did_you_mean
from hermetic.store.remote.protocol import Remote

OPTIONS = ("mode", "zone", "endpoint", "region", "ca", "cert", "key", "timeout", "header")
SCHEMES = ("s3", "http", "https", "grpc", "grpcs")
FORMS = "write s3://bucket/prefix, http(s)://host:port/path or grpc(s)://host:port/instance"
TIMEOUT = 5.0
_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?", re.ASCII)
_ZONE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


class Mode(StrEnum):
    """What may be done with a remote."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read-write"
    OFF = "off"

    @property
    def reads(self) -> bool:
        return self in (Mode.READ, Mode.READ_WRITE)

    @property
    def writes(self) -> bool:
        return self in (Mode.WRITE, Mode.READ_WRITE)


@dataclass(frozen=True)
class Address:
    """A parsed URL. ``secret``: user and password, or a bearer token; never shown."""

    scheme: str
    host: str  # host[:port], or the bucket
    path: str  # prefix or instance name, without slashes at its ends
    options: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secret: str = field(default="", repr=False)
    user: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f"/{self.path}" if self.path else "")

    @property
    def identity(self) -> str:
        """Names the content, not the way to it: the same for everyone who uses this cache."""
        endpoint = self.options.get("endpoint", "")
        return str(self) + (f"?endpoint={endpoint}" if endpoint else "")

    @property
    def timeout(self) -> float:
        """Seconds without a byte after which a request has failed."""
        return float(self.options.get("timeout", TIMEOUT))

    @property
    def mode(self) -> Mode | None:
        return mode(self.options["mode"]) if "mode" in self.options else None


def parse(url: str, environ: Mapping[str, str] = os.environ) -> Address:
    """Raises CommandLineError for a URL that is not one of ours."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise CommandLineError(f"the remote cache is not a URL: {error}", hint=FORMS) from None
    if parts.scheme not in SCHEMES or not parts.hostname or any(map(str.isspace, parts.netloc)):
        raise CommandLineError(f"the remote cache {_shown(parts)!r} is not of a kind hb knows", hint=FORMS)
    options: dict[str, str] = {}
    headers: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS:
            hint = did_you_mean(name, OPTIONS) or f"it knows {', '.join(OPTIONS)}"
            raise CommandLineError(f"the remote cache has no option {name!r}", hint=hint)
        if name == "header":
            headers.append(_header(value, environ))
        else:
            options[name] = value
    if "zone" in options:
        check_zone(options["zone"])
    if not _SECONDS.fullmatch(options.get("timeout", "1")):
        message = f"the remote cache's timeout {options['timeout']!r} is not a number of seconds"
        raise CommandLineError(message, hint="write timeout=20")
    check_endpoint(options.get("endpoint", ""))
    if "mode" in options:
        mode(options["mode"])
    host = parts.netloc.rpartition("@")[2]
    secret = unquote(parts.password or "") or environ.get("HB_CACHE_TOKEN", "")
    user = unquote(parts.username or "")
    return Address(parts.scheme, host, parts.path.strip("/"), options, tuple(headers), secret, user)


def mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        hint = did_you_mean(text, [one.value for one in Mode]) or f"one of {', '.join(Mode)}"
        raise CommandLineError(f"a remote cache has no mode {text!r}", hint=hint) from None


def check_endpoint(text: str) -> None:
    """Of an S3 server other than AWS. "" for none."""
    if text and not text.startswith(("https://", "http://")):
        raise CommandLineError(f"the endpoint {text!r} is not a URL", hint="write endpoint=https://host:port")


def check_zone(text: str) -> str:
    """A zone's name is part of paths and of bucket policies, so it is plain."""
    if not _ZONE.fullmatch(text) or ".." in text:
        raise CommandLineError(
            f"{text!r} is no name for a cache zone", hint="lower-case letters, digits, '.', '_' and '-': pr-123"
        )
    return text


def connect(address: Address) -> Remote:
    """The remote at an address. Libraries are imported here, connections are made on first use."""
    if address.scheme == "s3":
        from hermetic.store.remote.s3 import S3Remote

        return S3Remote(address)
    if address.scheme in ("http", "https"):
        from hermetic.store.remote.http import HttpRemote

        return HttpRemote(address)
    from hermetic.store.remote.reapi import ReapiRemote

    return ReapiRemote(address)


def _header(text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise CommandLineError(f"the header {name!r} is not of the form Name:Value", hint="header=Name:$VARIABLE")
    value = value.strip()
    if value.startswith("$"):
        if value[1:] not in environ:
            raise CommandLineError(f"the header {name!r} is taken from {value}, which is not set")
        value = environ[value[1:]]
    return name.strip(), value


def _shown(parts: SplitResult) -> str:
    """Without user, password and query: errors end up in logs."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
