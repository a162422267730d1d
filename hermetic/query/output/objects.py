"""JSON: one array of objects, or one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from hermetic.query.catalogue import Shown


def rows(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    return (json.dumps(catalogue.describe(node)) for node in nodes)


def array(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    yield "["
    last = len(nodes) - 1
    for number, row in enumerate(rows(catalogue, nodes)):
        yield f"  {row}{',' if number < last else ''}"
    yield "]"
