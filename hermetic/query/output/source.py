"""Targets as they would stand in a BUILD.py: macros, variables and globs worked out. Files have no such form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hermetic.query.catalogue import Shown
from hermetic.query.values import source


def build(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    for node in nodes:
        attributes = catalogue.attributes(node)
        if not attributes:
            continue
        yield f"# {catalogue.location(node)}"
        yield f"{catalogue.kind(node).removesuffix(' rule')}("
        for name, value in attributes.items():
            yield f"    {name} = {source(value)},"
        yield ")"
        yield ""
