"""JSON: one array of objects, or one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from hermetic.query.catalogue import Catalogue


def rows(catalogue: Catalogue, nodes: Sequence[int]) -> Iterator[str]:
    return (json.dumps(catalogue.describe(node)) for node in nodes)


def array(catalogue: Catalogue, nodes: Sequence[int]) -> Iterator[str]:
    yield "["
    last = len(nodes) - 1
    for number, row in enumerate(rows(catalogue, nodes)):
        yield f"  {row}{',' if number < last else ''}"
    yield "]"
