"""The unconfigured target graph: every target of some packages and of all they lead to, with every branch
of every select.

Guarantees: no rule's ``actions`` runs and no setting is read. A package that cannot be loaded, a
label that leads nowhere and a file that is not there are kept as errors of the package or target, so
that a query fails only when it comes across them. Nodes are targets, the source files they name, the
``BUILD.py`` of every package and the files of the workspace these import.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hermetic.analysis.attributes import edges
from hermetic.analysis.files import PackageFiles
from hermetic.analysis.rule import Edge, Rule
from hermetic.analysis.targetfile import CONDITIONAL, MAX_DEPTH, SOURCE, TOOL, encode
from hermetic.errors import BuildFileError, HbError, did_you_mean
from hermetic.label import Label
from hermetic.loading.declare import Declaration, rule_name
from hermetic.loading.glob import BUILD_FILE
from hermetic.loading.loader import Loader, Package
from hermetic.loading.select import Select, SelectList

Place = tuple[str, str]  # package, name


@dataclass(frozen=True, slots=True)
class Arrow:
    """One edge before nodes have numbers."""

    to: Place
    attribute: int
    flags: int


@dataclass
class _Found:
    """What was collected, before nodes have numbers."""

    packages: dict[str, Package] = field(default_factory=dict)
    broken: dict[str, HbError] = field(default_factory=dict)
    folders: dict[str, HbError] = field(default_factory=dict)
    files: dict[str, dict[str, None]] = field(default_factory=dict)  # package → names of its files
    arrows: dict[Place, list[Arrow]] = field(default_factory=dict)
    faults: list[tuple[Place, HbError]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    rules: dict[type[Rule], str] = field(default_factory=dict)


def collect(loader: Loader, folders: Sequence[str], packages: Sequence[str]) -> bytes:
    """The graph of everything below ``folders``, of ``packages`` and of the packages their labels name,
    packed by ``hermetic.analysis.targetfile``."""
    found = _Found()
    waiting = dict.fromkeys(packages)
    for folder in folders:
        try:
            waiting.update(dict.fromkeys(loader.packages(folder)))
        except HbError as error:
            found.folders[folder] = error
    while waiting:
        path, _ = waiting.popitem()
        if path not in found.packages and path not in found.broken:
            waiting.update(dict.fromkeys(_take(loader, path, found)))
    _check_labels(found)
    return _pack(loader, folders, found)


def _take(loader: Loader, path: str, found: _Found) -> set[str]:
    """Load one package; returns the packages its labels name."""
    try:
        package = loader.package(path)
    except HbError as error:
        found.broken[path] = error
        return set()
    found.packages[path] = package
    files = PackageFiles(loader, package)
    named: set[str] = set()
    for declaration in package.declarations.values():
        place = (path, declaration.name)
        try:
            arrows = [*_arrows(declaration, files, found)]
        except RecursionError:
            arrows = []
            found.faults.append(
                (place, BuildFileError("its attributes are nested too deeply").at(*_where(declaration)))
            )
        found.arrows[place] = arrows
        named.update(arrow.to[0] for arrow in arrows)
    found.files.setdefault(path, {}).update(dict.fromkeys(files.used))
    return named


def _where(declaration: Declaration) -> tuple[Any, str]:
    return declaration.location, str(declaration.label)


def _arrows(declaration: Declaration, files: PackageFiles, found: _Found) -> Iterator[Arrow]:
    rule: Any = declaration.rule
    found.rules.setdefault(rule, f"{rule_name(rule)} rule")
    for name, edge in edges(rule).items():
        if name not in declaration.attrs:
            continue
        attribute = found.names.setdefault(name, len(found.names))
        flags = _flags(edge)
        seen = set()
        for text, conditional in _texts(declaration.attrs[name], False):
            try:
                to = _place(text, edge, declaration, files)
            except HbError as error:
                found.faults.append(((declaration.package, declaration.name), error.at(*_where(declaration))))
                continue
            arrow = Arrow(to, attribute, flags | (CONDITIONAL if conditional else 0))
            if arrow not in seen:
                seen.add(arrow)
                yield arrow


def _flags(edge: Edge) -> int:
    if edge.transition == "exec":
        return TOOL
    return CONDITIONAL if edge.transition else 0


def _texts(value: Any, conditional: bool) -> Iterator[tuple[str, bool]]:
    """Every string in a value that is a dependency, and whether a select decides about it."""
    if isinstance(value, str):
        yield value, conditional
    elif isinstance(value, Select):
        for branch in value.branches.values():
            yield from _texts(branch, True)
    elif isinstance(value, SelectList | list | tuple | dict):
        items = value.parts if isinstance(value, SelectList) else value.values() if isinstance(value, dict) else value
        for item in items:
            yield from _texts(item, conditional)


def _place(text: str, edge: Edge, declaration: Declaration, files: PackageFiles) -> Place:
    if edge.files and not text.startswith((":", "//", "@")) and text not in files.package.declarations:
        return declaration.package, files.name(text, edge.missing)
    label = Label.parse(text, declaration.package)
    return label.package, label.name


def _check_labels(found: _Found) -> None:
    """Take out the edges that lead to no target, and keep why."""
    for place, arrows in found.arrows.items():
        wrong = {arrow.to for arrow in arrows if not _exists(arrow.to, found)}
        if wrong:
            found.arrows[place] = [arrow for arrow in arrows if arrow.to not in wrong]
            location = found.packages[place[0]].declarations[place[1]].location
            label = str(Label(*place))
            found.faults += [(place, _missing(to, found).at(location, label)) for to in sorted(wrong)]


def _exists(to: Place, found: _Found) -> bool:
    package, name = to
    return package in found.packages and (
        name in found.packages[package].declarations or name in found.files.get(package, ())
    )


def _missing(to: Place, found: _Found) -> HbError:
    label = Label(*to)
    if label.package in found.broken:
        error = found.broken[label.package]
        return BuildFileError(f"{label} cannot be had: {error.location or ''} {error.message}", hint=error.hint)
    package = found.packages[label.package]
    if label.name in package.toolchains:
        return BuildFileError(f"{label} is a toolchain declaration; name its impl instead")
    return BuildFileError(f"there is no target {label}", hint=did_you_mean(label.name, package.declarations))


# --- packing -------------------------------------------------------------------------------------


def _pack(loader: Loader, folders: Sequence[str], found: _Found) -> bytes:
    loaded = sorted({*found.packages, *found.broken})
    loads = _loads(loader, found)
    names = {
        path: sorted({*found.packages[path].declarations, *found.files.get(path, ())})
        for path in sorted(found.packages)
    }
    number: dict[Place, int] = {}
    for path, inside in names.items():
        for name in inside:
            number[path, name] = len(number)
    kinds = {SOURCE: 0} | {kind: at for at, kind in enumerate(sorted({*found.rules.values()}), start=1)}
    sections = _sections(number, found, kinds)
    starts = array("i", [0])
    for inside in names.values():
        starts.append(starts[-1] + len(inside))
    head = {
        "rules": {kind: _described(kind, found) for kind in kinds},
        "names": list(found.names),
        "errors": {
            "packages": {path: error.to_dict() for path, error in found.broken.items()},
            "folders": {path: error.to_dict() for path, error in found.folders.items()},
            "targets": [[number[place], error.to_dict()] for place, error in found.faults],
        },
        "scope": {"folders": sorted(set(folders) - set(found.folders)), "loaded": loaded},
        "settings": _settings(loader),
    }
    info = {
        path: {"visibility": list(package.default_visibility), "loads": loads[path]}
        for path, package in found.packages.items()
    }
    sections |= {"packages": list(names), "starts": starts, "labels": [f"//{path}:{name}" for path, name in number]}
    return encode(head, info, sections)


def _sections(number: Mapping[Place, int], found: _Found, kinds: Mapping[str, int]) -> dict[str, Any]:
    """The arrays over nodes and edges."""
    kind, lines, offsets, deps = array("H"), array("i"), array("i", [0]), array("i")
    attributes, flags, spans, texts = array("H"), array("B"), array("I", [0]), bytearray()
    for path, name in number:
        declaration = found.packages[path].declarations.get(name)
        if declaration is None:
            kind.append(0)
            lines.append(0)
        else:
            rule: Any = declaration.rule
            kind.append(kinds[found.rules[rule]])
            lines.append(declaration.location.line)
            for arrow in found.arrows[path, name]:
                deps.append(number[arrow.to])
                attributes.append(arrow.attribute)
                flags.append(arrow.flags)
            texts += written(declaration.attrs)
        offsets.append(len(deps))
        spans.append(len(texts))
    return {
        "kinds": kind, "lines": lines, "offsets": offsets, "deps": deps, "attributes": attributes, "flags": flags,
        "spans": spans, "texts": bytes(texts),
    }  # fmt: skip


def _loads(loader: Loader, found: _Found) -> dict[str, list[str]]:
    """Package → labels of the files it imports; these and its BUILD.py become nodes."""
    loads: dict[str, list[str]] = {}
    for path, package in [*found.packages.items()]:
        _build_file(loader, path, found)
        loads[path] = []
        for file in package.imports:
            owner = _owner(loader, file)
            if owner in found.broken:
                continue
            if owner not in found.packages:
                found.packages[owner] = Package(owner, {}, {}, {}, {}, (), (), ())
                _build_file(loader, owner, found)
                loads.setdefault(owner, [])
            name = file.removeprefix(f"{owner}/") if owner else file
            found.files[owner].setdefault(name)
            loads[path].append(f"//{owner}:{name}")
    return loads


def _build_file(loader: Loader, path: str, found: _Found) -> None:
    """Make the package's BUILD.py a node; only the root can be a package without one."""
    files = found.files.setdefault(path, {})
    if (loader.workspace / path / BUILD_FILE).is_file():
        files.setdefault(BUILD_FILE)


def _owner(loader: Loader, file: str) -> str:
    """The package a file belongs to: that of the nearest folder with a BUILD.py."""
    folder = file.rpartition("/")[0]
    while folder and not (loader.workspace / folder / BUILD_FILE).is_file():
        folder = folder.rpartition("/")[0]
    return folder


def _described(kind: str, found: _Found) -> dict[str, Any]:
    """What queries need of a rule: its attributes, their defaults and which are dependencies."""
    rule = next((rule for rule, name in found.rules.items() if name == kind), None)
    if rule is None:
        return {"test": False, "attributes": {}}
    deps = edges(rule)
    attributes = {
        name: [
            name in deps,
            name in deps and deps[name].files,
            None if info.is_required() else packed(info.get_default()),
        ]
        for name, info in rule.model_fields.items()
    }
    return {"test": rule.test, "attributes": attributes}


def _settings(loader: Loader) -> list[Any]:
    try:
        root = loader.root()
    except HbError:
        return []  # who resolves a select meets the error elsewhere
    return [[one.name, one.default, list(one.values)] for one in root.settings.values()]


def written(attrs: Mapping[str, Any]) -> bytes:
    """Attributes as JSON, see ``packed``."""
    return json.dumps({name: packed(value) for name, value in attrs.items()}, separators=(",", ":")).encode()


def packed(value: Any, depth: int = MAX_DEPTH - 1) -> Any:
    """A value in JSON's types: dicts as {"dict": pairs}, selects as {"select": pairs}, sums as {"add": parts}.
    What is nested too deeply to be read by anybody is left out."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if depth == 0:
        return "…"
    if isinstance(value, list | tuple):
        return [packed(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {"dict": [[str(key), packed(item, depth - 1)] for key, item in value.items()]}
    if isinstance(value, Select):
        pairs = [[key, packed(item, depth - 1)] for key, item in value.branches.items()]
        return {"select": pairs, "line": value.location.line}
    if isinstance(value, SelectList):
        return {"add": [packed(part, depth - 1) for part in value.parts]}
    return str(value)[:200]
