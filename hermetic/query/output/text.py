"""Actions for people: a paragraph each, everything that goes into the key, and the key."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hermetic.query.catalogue import Shown


def text(catalogue: Shown, nodes: Sequence[int]) -> Iterator[str]:
    for node in nodes:
        yield from _paragraph(catalogue.describe(node))


def _paragraph(about: Mapping[str, Any]) -> Iterator[str]:
    yield f"action {about['id']}"
    for name in ("mnemonic", "label", "mode"):
        yield f"  {name}: {about[name]}"
    yield f"  location: {about['location']['path']}:{about['location']['line']}"
    for name in ("settings", "platform"):
        if about[name]:
            yield f"  {name}: {', '.join(f'{key}={value}' for key, value in about[name].items())}"
    yield f"  argv: {shlex.join(about['argv'])}"
    if "parameters" in about:
        yield f"  parameters: {json.dumps(about['parameters'], ensure_ascii=False)}"
    for key, value in about["environment"].items():
        yield f"  environment: {key}={shlex.quote(value)}"
    for one in about["inputs"]:
        yield f"  input: {one['path']} ← {one['from']} {one['digest'] or '(not built yet)'}"
    for one in about["outputs"]:
        yield f"  output: {one['path']} ({one['kind']} {one['name']})"
    yield f"  timeout: {about['timeout']} s"
    yield f"  key: {about['key'] or 'not known before its inputs are built'}"
    yield ""
