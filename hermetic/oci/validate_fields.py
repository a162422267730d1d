"""What the fields of a layout's documents must look like: one function per kind of object.

Each yields a line per problem and touches no file. Types, spelling and syntax are judged here; whether
digests, sizes and diff ids are true is ``hermetic.oci.validate``'s business.
Sources: OCI image specification 1.1 (descriptor.md, annotations.md, image-index.md, config.md); RFC 6838
for media types, RFC 3339 for times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

Problems: TypeAlias = Iterator[str]

DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
REF_NAME = "org.opencontainers.image.ref.name"
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.ASCII)
_REF_PART = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*"
_REF = re.compile(rf"{_REF_PART}(?:/{_REF_PART})*", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_PORT = re.compile(r"\d{1,5}(?:/(?:tcp|udp|sctp))?", re.ASCII)
_ENV = re.compile(r"[^=\0]+=[^\0]*")
_USER = re.compile(r"[A-Za-z0-9_][\w.$-]*(?::[A-Za-z0-9_][\w.$-]*)?|", re.ASCII)

ARCHITECTURES = ("386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x")
SYSTEMS = ("linux",)

INDEX = ("schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations")
MANIFEST = ("schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations")
DESCRIPTOR = ("mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform")
CONFIG = (
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
)


def spelling(value: Mapping[str, Any], known: tuple[str, ...]) -> Problems:
    """Readers written in Go take ``Layers`` for ``layers``; others do not, and see another image."""
    folded = {name.casefold(): name for name in known}
    for name in value:
        meant = folded.get(name.casefold(), name)
        if meant != name:
            yield f"has a field {name!r}, which some readers take for {meant!r}"


def descriptor(entry: Mapping[str, Any]) -> Problems:
    """All fields but digest and size, which decide whether the blob can be looked at."""
    yield from spelling(entry, DESCRIPTOR)
    name = str(entry["digest"])[:19]
    media_type = entry.get("mediaType")
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        yield f"gives {name} the mediaType {media_type!r}"
    if entry.get("urls"):
        yield f"wants {name} from elsewhere"
    if "data" in entry:
        yield f"embeds {name}"
    yield from notes(entry)
    if "platform" in entry:
        yield from platform(entry["platform"])


def notes(entry: Mapping[str, Any]) -> Problems:
    """``annotations``, wherever they may stand."""
    found = entry.get("annotations", {})
    if not _texts(found):
        yield f"has annotations that are not texts by name: {found!r:.80}"
    elif REF_NAME in found and not _REF.fullmatch(found[REF_NAME]):
        yield f"has the reference name {found[REF_NAME]!r}, which no reference may have"


def platform(found: Any) -> Problems:
    """``architecture``, ``os`` and ``variant`` of a descriptor's platform or a configuration."""
    if not isinstance(found, dict):
        yield f"has a platform that is no object: {found!r:.80}"
        return
    for name, known in (("architecture", ARCHITECTURES), ("os", SYSTEMS)):
        if found.get(name) not in known:
            yield f"is for the {name} {found.get(name)!r}; known are {', '.join(known)}"
    if not isinstance(found.get("variant", ""), str):
        yield f"has the variant {found['variant']!r}"


def config(found: Mapping[str, Any]) -> Problems:
    """An image configuration, all but what the layers have to confirm."""
    yield from spelling(found, CONFIG)
    yield from platform(found)
    if not _is_time(found.get("created", "1970-01-01T00:00:00Z")):
        yield f"was created at {found['created']!r}, which is no time"
    settings = found.get("config", {})
    if not isinstance(settings, dict):
        yield f"has settings that are no object: {settings!r:.80}"
    else:
        yield from _settings(settings)
    yield from _history(found.get("history", []))


def _settings(found: Mapping[str, Any]) -> Problems:
    yield from spelling(found, tuple(_SETTINGS))
    for name, (fits, what) in _SETTINGS.items():
        value = found.get(name)
        if value is not None and not fits(value):
            yield f"has a {name} that is not {what}: {value!r:.80}"
    lines = found["Env"] if _env(found.get("Env")) else []
    names = [line.partition("=")[0] for line in lines]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"sets {name} twice"


def _history(found: Any) -> Problems:
    if not isinstance(found, list) or not all(isinstance(step, dict) for step in found):
        yield f"has a history that is no list of steps: {found!r:.80}"
        return
    for step in found:
        for name in ("created_by", "author", "comment"):
            if not isinstance(step.get(name, ""), str):
                yield f"has a history step whose {name} is {step[name]!r:.80}"
        if not isinstance(step.get("empty_layer", False), bool):
            yield f"has a history step whose empty_layer is {step['empty_layer']!r}"
        if not _is_time(step.get("created", "1970-01-01T00:00:00Z")):
            yield f"has a history step of {step['created']!r}, which is no time"


def _text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(one) for one in value.values())


def _list(value: Any) -> bool:
    return isinstance(value, list) and all(_text(one) for one in value)


def _set(value: Any) -> bool:
    return isinstance(value, dict) and all(one == {} for one in value.values())


def _ports(value: Any) -> bool:
    return _set(value) and all(_PORT.fullmatch(name) and int(name.partition("/")[0]) < 1 << 16 for name in value)


def _env(value: Any) -> bool:
    return _list(value) and all(_ENV.fullmatch(line) for line in value)


def _absolute(value: Any) -> bool:
    return _text(value) and (not value or value.startswith("/")) and ".." not in value.split("/")


def _user(value: Any) -> bool:
    return _text(value) and bool(_USER.fullmatch(value))


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and bool(_TIME.fullmatch(value))


_SETTINGS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "Cmd": (_list, "a list of texts"),
    "Entrypoint": (_list, "a list of texts"),
    "Env": (_env, "a list of NAME=VALUE"),
    "ExposedPorts": (_ports, "a set of ports"),
    "Labels": (_texts, "texts by name"),
    "StopSignal": (_text, "a text"),
    "User": (_user, "a user"),
    "Volumes": (_set, "a set of paths"),
    "WorkingDir": (_absolute, "an absolute path without .."),
}
