"""One line per node: its label, alone or with what it is and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hermetic.query.catalogue import Shown


def label(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    return map(catalogue.name, nodes)


def label_kind(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    return (f"{catalogue.kind(node)} {catalogue.name(node)}" for node in nodes)


def location(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    """``path:line: kind label``, as compilers and grep have it."""
    return (f"{catalogue.location(node)}: {catalogue.kind(node)} {catalogue.name(node)}" for node in nodes)


def package(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    """Each package once, in order. The root package is an empty line, as in Bazel."""
    yield from sorted({catalogue.package(node) for node in nodes})
