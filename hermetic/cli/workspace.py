"""The workspace of a command: where it is, what its pyproject.toml says, which settings are in force."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermetic.errors import BuildFileError, CommandLineError, Location, did_you_mean
from hermetic.sizes import parse_size

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
# type → what an option of it is, for people, and how one is written
WORDS: Mapping[type, tuple[str, str]] = {
    str: ("a text", '{0} = "…"'),
    int: ("a whole number from 0 up", "{0} = 2"),
    bool: ("true or false", "{0} = true"),
    list: ("a list of texts", '{0} = ["…"]'),
    dict: ("a table", "[{1}.{0}], and its options below"),
}
STATE = ".hb"
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
    def said(self) -> Location:
        """Where its options are, for errors about them."""
        return Location(str(self.root / "pyproject.toml"), 0)

    @property
    def exec_platform(self) -> str:
        return str(self.options["exec_platform"]) or f"linux-{ARCHES.get(os.uname().machine, os.uname().machine)}"

    @property
    def state(self) -> Path:
        """Where hb keeps what belongs to this workspace: bytecode, the file-state index."""
        return self.root / STATE

    def state_beside(self, store: Path) -> Path:
        """``state``, or a folder in the store when the workspace is read-only."""
        if os.access(self.root, os.W_OK):
            return self.state
        import hashlib

        return store / "workspaces" / hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]

    def store_path(self, flag: str | None) -> Path:
        return store_path(flag, str(self.options["store"]))


def store_path(flag: str | None, said: str = "") -> Path:
    """``said``: what a workspace says, where there is one."""
    chosen = flag or os.environ.get("HB_STORE") or said
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
            state = folder / STATE
            if state.exists() and not state.is_dir():
                hint = "move it away: hb keeps what belongs to the workspace in a folder of that name"
                raise CommandLineError(f"{state} is not a folder", hint=hint)
            inside = start.relative_to(folder).as_posix()
            return Workspace(folder, options, "" if inside == "." else inside, _settings(options, config, sets))
    raise CommandLineError(
        f"{start} is not in a workspace", hint="a workspace is a folder whose pyproject.toml has a [tool.hb] table"
    )


def _table(path: Path) -> dict[str, Any] | None:
    where = Location(str(path), 0)
    try:
        data = path.read_bytes()
    except PermissionError as error:
        raise BuildFileError(
            f"cannot be read: {error.strerror}", location=where, hint=f"run: chmod +r {path}"
        ) from None
    except OSError:
        return None
    try:
        tool = tomllib.loads(data.decode("utf-8")).get("tool")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BuildFileError("is not UTF-8", location=Location(str(path), line)) from None
    except tomllib.TOMLDecodeError as error:
        raise BuildFileError(f"is not TOML: {error}", location=where) from None
    found = tool.get("hb") if isinstance(tool, dict) else None
    if found is not None and not isinstance(found, dict):
        raise BuildFileError(f"[tool.hb] is a table, not {found!r}", location=where)
    return found


def _checked(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    where = Location(str(path), 0)
    if "secrets" in table:
        hint = "a pull request can change this file: give values with --secret, HB_SECRET_NAME or secrets.toml"
        raise BuildFileError("[tool.hb] says nothing about secrets", location=where, hint=hint)
    options = filled("tool.hb", table, {name: (kind, default) for name, (kind, default, _) in OPTIONS.items()}, where)
    for title, values in {"settings": options["settings"], **_titled(options["config"])}.items():
        plain = isinstance(values, dict) and all(isinstance(one, str | bool | int) for one in values.values())
        if not plain:
            hint = 'write NAME = "VALUE", one per line'
            raise BuildFileError(f"[tool.hb.{title}] is a table of settings, not {values!r}", location=where, hint=hint)
    return options


def filled(
    title: str, table: Mapping[str, Any], known: Mapping[str, tuple[type, Any]], where: Location
) -> dict[str, Any]:
    """A table's options with their defaults. ``known``: name → (type, default). Raises BuildFileError."""
    for name, value in table.items():
        check_name(title, name, known, where)
        wanted = known[name][0]
        texts = wanted is not list or (isinstance(value, list) and all(isinstance(one, str) for one in value))
        if type(value) is not wanted or not texts or (isinstance(value, int) and value < 0):
            what, form = WORDS[wanted]
            message = f"option {name!r} in [{title}] is {what}, not {value!r}"
            raise BuildFileError(message, location=where, hint=f"write {form.format(name, title)}")
    return {name: table.get(name, default) for name, (_, default) in known.items()}


def check_name(title: str, name: str, known: Collection[str], where: Location) -> None:
    """Whether a table has such an option. Raises BuildFileError."""
    if name not in known:
        hint = did_you_mean(name, known) or f"it knows {', '.join(known)}"
        raise BuildFileError(f"[{title}] has no option {name!r}", location=where, hint=hint)


def checked_size(title: str, name: str, text: str, where: Location) -> int:
    """An option that is a size, in bytes. Raises BuildFileError."""
    size = parse_size(text)
    if size is None:
        message = f"option {name!r} in [{title}] is a size, not {text!r}"
        raise BuildFileError(message, location=where, hint="write 500M or 20G")
    return size


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
            hint = "like --set cuda=13; hb config shows the settings there are"
            raise CommandLineError(f"--set {text!r} is not of the form NAME=VALUE", hint=hint)
        found[key] = Setting(value, "--set")
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
