"""Pictures of an answer: Graphviz's dot, Mermaid, and SVG drawn by the program ``dot``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hermetic.errors import EnvironmentError_
from hermetic.query.catalogue import Shown
from hermetic.query.output.induced import induced

PATIENCE = 300  # seconds for dot


def graph(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    yield "digraph hb {"
    yield "  node [shape=box];"
    for node, row in induced(catalogue.graph, nodes).items():
        start = _quoted(catalogue.name(node))
        yield f"  {start}"
        for target in row:
            yield f"  {start} -> {_quoted(catalogue.name(target))}"
    yield "}"


def mermaid(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    yield "flowchart TD"
    rows = induced(catalogue.graph, nodes)
    number = {node: f"n{at}" for at, node in enumerate(rows)}
    for node in rows:
        text = catalogue.name(node).replace("#", "#35;").replace('"', "#quot;")
        yield f'  {number[node]}["{text}"]'
    for node, row in rows.items():
        for target in row:
            yield f"  {number[node]} --> {number[target]}"


def svg(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    import shutil
    import subprocess

    program = shutil.which("dot")
    if program is None:
        raise EnvironmentError_(
            "--output svg needs Graphviz's program dot, which is not installed",
            hint="install graphviz, or use --output mermaid or --output graph",
        )
    text = "\n".join(graph(catalogue, nodes))
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentError_(
            f"dot did not finish a graph of {len(nodes)} nodes in {PATIENCE} s", hint="ask for a smaller graph"
        ) from None
    if done.returncode:
        raise EnvironmentError_(f"dot failed: {done.stderr.strip()[-500:]}", hint="use --output graph and look at it")
    yield done.stdout.rstrip("\n")


def _quoted(text: str) -> str:
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'
