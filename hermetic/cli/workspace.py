"""The workspace of a command: where it is, what its pyproject.toml says, which settings are in force."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermetic.errors import BuildFileError, CommandLineError, Location, did_you_mean

# name → (type, default, what it is)
OPTIONS: Mapping[str, tuple[type, Any, str]] = {
    "jobs": (int, 0, "actions that run at the same time; 0 means one per CPU"),
    "store": (str, "", "the folder of the local store"),
    "ignore": (list, [], "folders that are never packages"),
    "exec_platform": (str, "", "the platform that actions run on; empty means this machine"),
    "load_deadline": (int, 120, "seconds that loading BUILD files may take"),
    "load_memory": (int, 4096, "MiB of memory that loading BUILD files may use"),
    "machine": (dict, {}, 'what actions may use of this machine: cpu, and memory like "12G"'),
    "cache": (dict, {}, "the remote cache, see docs/guide/cache.md"),
    "compile-cache": (dict, {}, "compiling with sccache, see docs/guide/compile-cache.md"),
    "trust": (dict, {}, "whose results may be read from a remote cache: policy = [public keys]"),
    "settings": (dict, {}, "settings in force unless --config or --set says otherwise"),
    "config": (dict, {}, "named sets of settings for --config"),
}
ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Setting:
    """A setting's text and where it came from."""

    value: str
    origin: str


@dataclass(frozen=True)
class Workspace:
    root: Path
    options: Mapping[str, Any]
    package: str = ""  # the package the command was called in
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def exec_platform(self) -> str:
        return str(self.options["exec_platform"]) or f"linux-{ARCHES.get(os.uname().machine, os.uname().machine)}"

    @property
    def state(self) -> Path:
        """Where hb keeps what belongs to this workspace: bytecode, the file-state index."""
        return self.root / ".hb"

    def state_beside(self, store: Path) -> Path:
        """``state``, or a folder in the store when the workspace is read-only."""
        if os.access(self.root, os.W_OK):
            return self.state
        import hashlib

        return store / "workspaces" / hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]

    def store_path(self, flag: str | None) -> Path:
        chosen = flag or os.environ.get("HB_STORE") or str(self.options["store"])
        if chosen:
            return Path(chosen).expanduser().absolute()
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(base) / "hb" / "store"


def find(start: Path, config: Sequence[str] = (), sets: Sequence[str] = ()) -> Workspace:
    """The workspace around ``start``, with settings from [tool.hb], ``config`` names and NAME=VALUE
    ``sets``, later ones stronger. Raises CommandLineError or BuildFileError."""
    for folder in (start, *start.parents):
        table = _table(folder / "pyproject.toml")
        if table is not None:
            options = _checked(table, folder / "pyproject.toml")
            inside = start.relative_to(folder).as_posix()
            return Workspace(folder, options, "" if inside == "." else inside, _settings(options, config, sets))
    raise CommandLineError(
        f"{start} is not in a workspace", hint="a workspace is a folder whose pyproject.toml has a [tool.hb] table"
    )


def _table(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        found = tomllib.loads(text).get("tool", {}).get("hb")
    except tomllib.TOMLDecodeError as error:
        raise BuildFileError(f"is not TOML: {error}", location=Location(str(path), 0)) from None
    return found if isinstance(found, dict) else None


def _checked(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    where = Location(str(path), 0)
    for name, value in table.items():
        if name == "secrets":
            hint = "a pull request can change this file: give values with --secret, HB_SECRET_NAME or secrets.toml"
            raise BuildFileError("[tool.hb] says nothing about secrets", location=where, hint=hint)
        if name not in OPTIONS:
            hint = did_you_mean(name, OPTIONS) or f"it knows {', '.join(OPTIONS)}"
            raise BuildFileError(f"[tool.hb] has no option {name!r}", location=where, hint=hint)
        wanted = OPTIONS[name][0]
        if type(value) is not wanted:
            raise BuildFileError(f"option {name!r} in [tool.hb] is a {wanted.__name__}, not {value!r}", location=where)
    options = {name: table.get(name, default) for name, (_, default, _) in OPTIONS.items()}
    for title, values in {"settings": options["settings"], **_titled(options["config"])}.items():
        plain = isinstance(values, dict) and all(isinstance(one, str | bool | int) for one in values.values())
        if not plain:
            hint = 'write NAME = "VALUE", one per line'
            raise BuildFileError(f"[tool.hb.{title}] is a table of settings, not {values!r}", location=where, hint=hint)
    return options


def _titled(configs: Mapping[str, Any]) -> dict[str, Any]:
    return {f"config.{name}": values for name, values in configs.items()}


def _settings(options: Mapping[str, Any], config: Sequence[str], sets: Sequence[str]) -> dict[str, Setting]:
    found = {name: Setting(_text(value), "[tool.hb.settings]") for name, value in options["settings"].items()}
    for name in config:
        if name not in options["config"]:
            known = ", ".join(options["config"]) or "none"
            raise CommandLineError(
                f"there is no configuration {name!r}",
                hint=did_you_mean(name, options["config"]) or f"[tool.hb.config] has {known}",
            )
        values = options["config"][name]
        found.update((key, Setting(_text(value), f"--config={name}")) for key, value in values.items())
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandLineError(f"--set {text!r} is not of the form NAME=VALUE")
        found[key] = Setting(value, "--set")
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
