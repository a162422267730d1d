"""How answers look: name → format, in one table. A format yields lines, so that large answers stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from hermetic.query.catalogue import Shown
from hermetic.query.output import drawing, lines, objects, ranks, source, text

Format = Callable[[Shown, Sequence[int]], Iterator[str]]

FORMATS: Mapping[str, Format] = {
    "build": source.build,
    "graph": drawing.graph,
    "json": objects.array,
    "jsonl": objects.rows,
    "label": lines.label,
    "label_kind": lines.label_kind,
    "location": lines.location,
    "maxrank": ranks.maxrank,
    "mermaid": drawing.mermaid,
    "minrank": ranks.minrank,
    "package": lines.package,
    "svg": drawing.svg,
    "text": text.text,
}
