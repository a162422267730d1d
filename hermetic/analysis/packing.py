"""From collected targets to the packed graph: nodes get their numbers, attributes become JSON.

Guarantees: the same workspace gives the same bytes; packages and labels are in order, as
``hermetic.analysis.targetfile`` wants them.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from hermetic.analysis.attributes import edges
from hermetic.analysis.collected import Collected, Place
from hermetic.analysis.rule import Edge
from hermetic.analysis.targetfile import MAX_DEPTH, SOURCE, encode
from hermetic.errors import HbError
from hermetic.loading.glob import BUILD_FILE
from hermetic.loading.loader import Loader, Package
from hermetic.loading.select import Select, SelectList


def pack(loader: Loader, folders: Sequence[str], found: Collected) -> bytes:
    """The graph as a block of ``hermetic.analysis.targetfile``. ``folders``: below which everything is loaded."""
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


def _sections(number: Mapping[Place, int], found: Collected, kinds: Mapping[str, int]) -> dict[str, Any]:
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


def _loads(loader: Loader, found: Collected) -> dict[str, list[str]]:
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


def _build_file(loader: Loader, path: str, found: Collected) -> None:
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


def _described(kind: str, found: Collected) -> dict[str, Any]:
    """What queries need of a rule: its attributes, which are dependencies, which of these are tools, and defaults."""
    rule = next((rule for rule, name in found.rules.items() if name == kind), None)
    if rule is None:
        return {"test": False, "attributes": {}}
    deps = edges(rule)
    attributes = {
        name: [name in deps, _is_tool(deps.get(name)), None if info.is_required() else packed(info.get_default())]
        for name, info in rule.model_fields.items()
    }
    return {"test": rule.test, "attributes": attributes}


def _is_tool(edge: Edge | None) -> bool:
    return edge is not None and edge.transition == "exec"


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
