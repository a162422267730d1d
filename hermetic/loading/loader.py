"""The loader: packages of a workspace, evaluated on demand and once.

``Loader.package`` gives a package's declarations; the root package also has the workspace's settings,
platforms and registered toolchains.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermetic.errors import BuildFileError, CommandLineError, LabelError, Location, SettingError, did_you_mean
from hermetic.label import Label, check_package
from hermetic.listing import OWN
from hermetic.loading.declare import CURRENT, Declaration, PackageDraft, ToolchainDeclaration, call_site, current
from hermetic.loading.evaluate import Evaluator, fail
from hermetic.loading.glob import BUILD_FILE, glob_files, note_folder
from hermetic.loading.links import Links
from hermetic.loading.select import Select, make_select
from hermetic.pattern import Pattern
from hermetic.settings import Platform, Setting, find_setting
from hermetic.spans import UNHEARD, Spans

PROJECT = "pyproject.toml"
_TOOL_HB = re.compile(rb"^\s*\[\s*tool\s*\.\s*hb\s*[].]", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """An evaluated package. ``globs``: (include, exclude, result) of each look at the disk. ``imports``: files
    of the workspace that its BUILD.py imported, itself or through another file."""

    path: str
    declarations: Mapping[str, Declaration]
    toolchains: Mapping[str, ToolchainDeclaration]
    settings: Mapping[str, Setting]
    platforms: Mapping[str, Platform]
    registered: tuple[str, ...]
    default_visibility: tuple[str, ...]
    globs: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...]
    imports: tuple[str, ...] = ()

    def absent(self, name: str) -> BuildFileError:
        """That it has no such target, and what it has."""
        label = Label(self.path, name)
        if name in self.toolchains:
            return BuildFileError(f"{label} is a toolchain declaration", hint="name its impl instead")
        listed = f"//{self.path} has {', '.join(self.declarations) or 'no targets'}"[:300]
        return BuildFileError(f"there is no target {label}", hint=did_you_mean(name, self.declarations) or listed)


class Loader:
    """``ignore``: folders (relative to the workspace) that are never packages."""

    def __init__(
        self, workspace: Path, cache: Path | None = None, ignore: Iterable[str] = (), spans: Spans = UNHEARD
    ) -> None:
        self.workspace = workspace
        self.spans = spans
        self.links = Links(workspace)
        self.evaluator = Evaluator(workspace, cache, self.links)
        self._ignore = frozenset(ignore)
        self.loaded: dict[str, Package] = {}
        self.read_folders: dict[str, str] = {}  # path → listing digest of every folder looked into
        self._seen: dict[str, tuple[dict[str, str], dict[str, str]]] = {}

    @property
    def read_files(self) -> dict[str, str]:
        """Path → SHA-256 of everything read; "" for what was looked for and is not there."""
        return self.evaluator.read_files

    def package(self, path: str) -> Package:
        """The package at ``path``. BuildFileError when there is none or its BUILD.py is wrong."""
        if path not in self.loaded:
            with self.spans.span("load package", package=f"//{path}"):
                self.loaded[path] = self._load(path)
        return self.loaded[path]

    def note(self, package: str, path: str, digest: str) -> None:
        """Remember what analysis read of a file for a package: its SHA-256, "" when it is not there."""
        self.read_files[path] = self._seen[package][0][path] = digest

    def seen_by(self, package: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """What a loaded package read, and the folders it looked into, with their digests."""
        return self._seen[package]

    def recall(self, packages: Mapping[str, Package], seen: Mapping[str, tuple[Any, Any]]) -> None:
        """Take over packages of an earlier load in which nothing has changed."""
        for path, package in packages.items():
            files, folders = seen[path]
            self.loaded[path], self._seen[path] = package, (dict(files), dict(folders))
            self.read_files.update(files)
            self.read_folders.update(folders)

    def packages(self, below: str = "") -> list[str]:
        """Paths of all packages at or below a folder, sorted."""
        top = self.workspace / below
        if not top.is_dir():
            raise BuildFileError(f"there is no folder //{below}", hint=self._near(below))
        found = []
        for folder, names, files in os.walk(top):
            inside = os.path.relpath(folder, self.workspace)
            inside = "" if inside == "." else inside
            note_folder(self.workspace, inside, self.read_folders)
            if inside and self._is_workspace(inside, files):
                names.clear()
                continue
            names[:] = sorted(name for name in names if self._enters(inside, name))
            if BUILD_FILE in files:
                found.append(inside)
        return sorted(found)

    def root(self) -> Package:
        return self.package("")

    def _enters(self, folder: str, name: str) -> bool:
        path = f"{folder}/{name}" if folder else name
        return not name.startswith(".") and path not in self._ignore and name not in OWN

    def _is_workspace(self, folder: str, files: list[str]) -> bool:
        """Whether a folder is the root of a workspace of its own, which no pattern of this one means."""
        if PROJECT not in files or self.links.out(f"{folder}/{PROJECT}"):
            return False
        path = f"{folder}/{PROJECT}"
        data = (self.workspace / path).read_bytes()
        self.read_files[path] = hashlib.sha256(data).hexdigest()
        return bool(_TOOL_HB.search(data))

    def _near(self, path: str) -> str:
        return (did_you_mean(path, self.packages()) if path else None) or "hb query --output package //... lists them"

    def _load(self, path: str) -> Package:
        file = f"{path}/{BUILD_FILE}" if path else BUILD_FILE
        self.links.refuse(file, BuildFileError)
        if path and not os.path.lexists(self.workspace / file):
            raise BuildFileError(f"there is no package //{path} (no {file})", hint=self._near(path))
        try:
            check_package(f"//{path}", path)
        except LabelError as error:
            error.hint = "rename the folder: it has a BUILD.py, so its path is part of labels"
            raise error.at(Location(file, 0)) from None
        draft = PackageDraft(path, file)
        imports: tuple[str, ...] = ()
        folders: dict[str, str] = {}
        if os.path.lexists(self.workspace / file):
            token = CURRENT.set(draft)
            try:
                self.evaluator.package(file, prelude(self.workspace, folders))
            finally:
                CURRENT.reset(token)
            imports = tuple(self.evaluator.imported)
        self.read_folders.update(folders)
        read = {name: self.read_files.get(name, "") for name in (file, *imports)}
        self._seen[path] = {name: sha for name, sha in read.items() if sha or name == file}, folders
        return Package(
            path,
            draft.declarations,
            draft.toolchains,
            draft.settings,
            draft.platforms,
            tuple(draft.registered),
            draft.default_visibility,
            tuple(draft.globs),
            imports,
        )


def prelude(workspace: Path, read_folders: dict[str, str]) -> dict[str, Any]:
    """The functions every BUILD.py has without importing them (described in prelude.pyi). ``read_folders``
    receives what ``glob()`` looks into."""

    def glob(include: list[str], exclude: list[str] | None = None, allow_empty: bool = False) -> list[str]:
        draft = current("glob()")
        if not isinstance(include, list | tuple) or not isinstance(exclude or [], list | tuple):
            raise BuildFileError(
                "glob() takes a list of patterns", location=call_site(draft), hint='write glob(["src/**/*.c"])'
            )
        try:
            found = glob_files(workspace, draft.path, include, exclude or [], read_folders)
        except BuildFileError as error:
            raise error.at(call_site(draft)) from None
        if not found and not allow_empty:
            raise BuildFileError(
                f"glob({include!r}) matches nothing",
                location=call_site(draft),
                hint="mend the pattern, or say allow_empty = True",
            )
        draft.globs.append((tuple(include), tuple(exclude or []), tuple(found)))
        return found

    return {
        "fail": fail,
        "glob": glob,
        "package": _package,
        "platform": _platform,
        "register_toolchains": _register_toolchains,
        "select": _select,
        "setting": _setting,
        "toolchain": _toolchain,
    }


def _select(branches: dict[str, Any], no_match_error: str = "") -> Select:
    return make_select(branches, call_site(current("select()")), no_match_error)


def _package(default_visibility: list[str]) -> None:
    draft = current("package()")
    location = call_site(draft)
    if draft.declarations:
        raise BuildFileError("package() comes before the targets", location=location)
    if not isinstance(default_visibility, list | tuple):
        raise BuildFileError(f"default_visibility is a list, not {default_visibility!r}", location=location)
    for one in default_visibility:
        _text("an entry of default_visibility", one, location)
    draft.default_visibility = tuple(default_visibility)


def _root(what: str) -> tuple[PackageDraft, Location]:
    draft = current(what)
    location = call_site(draft)
    if draft.path:
        raise BuildFileError(f"{what} belongs into the BUILD.py of the workspace's root", location=location)
    return draft, location


def _text(what: str, value: Any, location: Location) -> None:
    if not isinstance(value, str) or not value:
        raise BuildFileError(f"{what} should be a text, not {value!r}", location=location)


def _setting(name: str, default: str | bool | int, values: list[str] | None = None, doc: str = "") -> None:
    draft, location = _root("setting()")
    _text("the name of a setting", name, location)
    if not name.isidentifier() or not name.isascii():
        raise SettingError(f"{name!r} cannot be the name of a setting", location=location, hint="use a-z, 0-9 and _")
    if name in draft.settings:
        raise SettingError(f"setting {name!r} is declared twice", location=location)
    if not isinstance(default, str | bool | int):
        raise SettingError(
            f"the default of setting {name!r} should be a text, a number, True or False", location=location
        )
    if values is not None and not (isinstance(default, str) and isinstance(values, list | tuple)):
        raise SettingError(f"setting {name!r}: only texts have a list of values", location=location)
    for value in values or ():
        _text(f"a value of setting {name!r}", value, location)
        if set(value) & set(",= "):
            raise SettingError(
                f"setting {name!r}: the value {value!r} holds a comma, '=' or a space", location=location
            )
    if values and default not in values:
        raise SettingError(f"the default {default!r} of setting {name!r} is not one of its values", location=location)
    draft.settings[name] = Setting(name, default, tuple(values or ()), doc, location)


def _platform(name: str, os: str, arch: str, settings: dict[str, str] | None = None) -> None:
    draft, location = _root("platform()")
    for what, value in (("name", name), ("os", os), ("arch", arch)):
        _text(f"the {what} of a platform", value, location)
    if name in draft.platforms:
        raise BuildFileError(f"platform {name!r} is declared twice", location=location)
    if not isinstance(settings or {}, dict):
        raise BuildFileError(f"the settings of platform {name!r} should be a dict", location=location)
    for key, value in (settings or {}).items():
        _text(f"setting {key!r} of platform {name!r}", value, location)
        try:
            find_setting(draft.settings, key).parse(value)
        except SettingError as error:
            raise error.at(location) from None
    draft.platforms[name] = Platform(name, os, arch, tuple(sorted((settings or {}).items())))


def _register_toolchains(*patterns: str) -> None:
    draft, location = _root("register_toolchains()")
    for pattern in patterns:
        _text("a pattern of toolchains", pattern, location)
        try:
            Pattern.parse(pattern)
        except CommandLineError as error:
            raise LabelError(error.message, location=location, hint=error.hint) from None
    draft.registered.extend(patterns)


def _toolchain(name: str, kind: str, exec: str, target: str, impl: str) -> None:
    draft = current("toolchain()")
    location = call_site(draft)
    for what, value in (("name", name), ("kind", kind), ("exec", exec), ("target", target), ("impl", impl)):
        _text(f"the {what} of a toolchain", value, location)
    Label.parse(f":{name}", draft.path)
    draft.claim(name, location)
    label = Label.parse(impl, draft.path)
    draft.toolchains[name] = ToolchainDeclaration(name, kind, exec, target, label, location)
