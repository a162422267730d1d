"""The unconfigured target graph: every target of some packages and of all they lead to, with every branch
of every select.

Guarantees: no rule's ``actions`` runs and no setting is read. A package that cannot be loaded, a
label that leads nowhere and a file that is not there are kept as errors of the package or target, so
that a query fails only when it comes across them. Nodes are targets, the source files they name, the
``BUILD.py`` of every package and the files of the workspace these import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hermetic.analysis.attributes import edges
from hermetic.analysis.collected import Arrow, Collected, Place
from hermetic.analysis.files import PackageFiles
from hermetic.analysis.packing import pack
from hermetic.analysis.rule import Edge
from hermetic.analysis.targetfile import CONDITIONAL, TOOL
from hermetic.errors import BuildFileError, HbError
from hermetic.label import Label
from hermetic.loading.declare import Declaration, rule_name
from hermetic.loading.loader import Loader
from hermetic.loading.select import Select, SelectList


def collect(loader: Loader, folders: Sequence[str], packages: Sequence[str]) -> bytes:
    """The graph of everything below ``folders``, of ``packages`` and of the packages their labels name,
    packed by ``hermetic.analysis.targetfile``."""
    found = Collected()
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
    return pack(loader, folders, found)


def _take(loader: Loader, path: str, found: Collected) -> set[str]:
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


def _arrows(declaration: Declaration, files: PackageFiles, found: Collected) -> Iterator[Arrow]:
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
                to = _place(text, edge, declaration, files, found)
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


def _place(text: str, edge: Edge, declaration: Declaration, files: PackageFiles, found: Collected) -> Place:
    if text in found.places:
        return found.places[text]
    if edge.files and not text.startswith((":", "//", "@")) and text not in files.package.declarations:
        return declaration.package, files.name(text, edge.missing)
    label = Label.parse(text, declaration.package)
    place = (label.package, label.name)
    if text.startswith("//"):
        found.places[text] = place
    return place


def _check_labels(found: Collected) -> None:
    """Take out the edges that lead to no target, and keep why."""
    for place, arrows in found.arrows.items():
        wrong = {arrow.to for arrow in arrows if not _exists(arrow.to, found)}
        if wrong:
            found.arrows[place] = [arrow for arrow in arrows if arrow.to not in wrong]
            location = found.packages[place[0]].declarations[place[1]].location
            label = str(Label(*place))
            found.faults += [(place, _missing(to, found).at(location, label)) for to in sorted(wrong)]


def _exists(to: Place, found: Collected) -> bool:
    package, name = to
    return package in found.packages and (
        name in found.packages[package].declarations or name in found.files.get(package, ())
    )


def _missing(to: Place, found: Collected) -> HbError:
    label = Label(*to)
    if label.package in found.broken:
        error = found.broken[label.package]
        return BuildFileError(f"{label} cannot be had: {error.location or ''} {error.message}", hint=error.hint)
    return found.packages[label.package].absent(label.name)
