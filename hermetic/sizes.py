"""Amounts of memory as people write them."""

from __future__ import annotations

import re

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"([0-9]+)([KMGT]?)(i?B)?", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int | None:
    """Bytes of "512M" or "11GiB"; None for what is no size."""
    match = _SIZE.fullmatch(text.strip())
    return int(match[1]) << UNITS[match[2].upper()] if match else None


def show_size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
