"""Which secrets a command has, and where each comes from: --secret, HB_SECRET_NAME, or the user's own file.

Guarantees: nothing in the workspace says where a value comes from. A pull request can change every file of the
workspace, and must not be able to turn a name into a private key or a cloud's credentials of whoever builds it. No
value is ever a word of a command line, which every process of the machine can read.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hermetic.errors import CommandLineError, Location, UserError, did_you_mean
from hermetic.secret import is_name
from hermetic.vault import Source, Vault

PREFIX = "HB_SECRET_"
FORM = "write --secret NAME=env:VARIABLE or --secret NAME=file:PATH"
_KEYS = ("env", "file", "hosts")


def add_secrets(parser: argparse.ArgumentParser) -> None:
    """Options of verbs that run actions."""
    group = parser.add_argument_group("secrets")
    group.add_argument(
        "--secret",
        metavar="NAME=SOURCE",
        action="append",
        default=[],
        help="where a secret's value is: NAME=env:VARIABLE or NAME=file:PATH",
    )


def vault_of(
    words: Sequence[str], workspace: Path, environ: Mapping[str, str] = os.environ, cwd: Path | None = None
) -> Vault:
    """The secrets of a command. ``words``: what --secret was given. Raises CommandLineError or UserError."""
    sources = dict(_from_file(config_file(environ)))
    for name in sorted(environ):
        if name.startswith(PREFIX) and is_name(name.removeprefix(PREFIX)):
            secret = name.removeprefix(PREFIX)
            sources[secret] = Source("env", name, "the environment", _hosts(sources, secret))
    for word in words:
        name, source = _from_word(word, cwd or Path.cwd())
        sources[name] = Source(source.kind, source.place, source.said, _hosts(sources, name))
    for name, source in sources.items():
        if source.kind == "file" and Path(os.path.realpath(source.place)).is_relative_to(workspace.resolve()):
            raise CommandLineError(
                f"the file of the secret {name} lies in the workspace: {source.place}",
                hint="keep it elsewhere: any file of the workspace can be an input, and then it is in caches",
            )
    return Vault(sources)


def config_file(environ: Mapping[str, str]) -> Path:
    """The user's own file: ``[NAME]`` with ``env`` or ``file``, and perhaps ``hosts``."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    return Path(base) / "hb" / "secrets.toml"


def _hosts(sources: Mapping[str, Source], name: str) -> tuple[str, ...]:
    """Where the user's file lets a secret go holds wherever its value comes from."""
    return sources[name].hosts if name in sources else ()


def _from_word(word: str, cwd: Path) -> tuple[str, Source]:
    name, equals, rest = word.partition("=")
    kind, colon, place = rest.partition(":")
    if not equals or not is_name(name):
        raise CommandLineError(f"--secret {name!r} names no secret", hint=FORM)
    if kind not in ("env", "file") or not colon or not place:  # what follows may be the value itself: not shown
        raise CommandLineError(f"--secret {name}=… does not say where the value is", hint=f"{FORM}; never the value")
    return name, Source(kind, _placed(kind, place, cwd), f"--secret {name}")


def _placed(kind: str, place: str, below: Path) -> str:
    return str(below / Path(place).expanduser()) if kind == "file" else place


def _from_file(path: Path) -> Iterator[tuple[str, Source]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"is not TOML: {error}", location=Location(str(path), 0)) from None
    for name, entry in table.items():
        yield name, _from_entry(name, entry, path)


def _from_entry(name: str, entry: Any, path: Path) -> Source:
    where = Location(str(path), 0)
    form = f'write [{name}], and below it env = "VARIABLE" or file = "PATH", and perhaps hosts = ["…"]'
    if not is_name(name) or not isinstance(entry, dict):
        raise UserError(f"{name!r} is not a secret", location=where, hint=form)
    for key in entry:
        if key not in _KEYS:
            raise UserError(f"[{name}] has no {key!r}", location=where, hint=did_you_mean(key, _KEYS) or form)
    kinds = [kind for kind in ("env", "file") if isinstance(entry.get(kind), str) and entry[kind]]
    hosts = entry.get("hosts", [])
    if len(kinds) != 1 or not isinstance(hosts, list) or not all(isinstance(one, str) for one in hosts):
        raise UserError(f"[{name}] does not say where its value is", location=where, hint=form)
    place = _placed(kinds[0], entry[kinds[0]], path.parent)
    return Source(kinds[0], place, str(path), tuple(one.lower() for one in hosts))
