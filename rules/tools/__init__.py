"""Small programs that rules run inside sandboxes, with the toolchain's Python and its stdlib.

A tool's text is an input of the action that runs it, so editing one changes exactly those keys.
"""

from __future__ import annotations

from importlib.resources import files

from hermetic.api import Inline


def tool(name: str) -> Inline:
    """The tool's text as an input file."""
    return Inline(files(__package__).joinpath(name).read_text(encoding="utf-8"))
