"""``hb cache``: look after the caches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_common
from hermetic.errors import CommandLineError


def main(words: Sequence[str]) -> int:
    about = "Make a key for signing results (keygen)."
    parser = Parser("cache", about, "hb cache keygen --output ci.pem")
    parser.add_argument("what", choices=["keygen"])
    parser.add_argument("--output", "-o", metavar="FILE", help="keygen: where the private key goes (default: your own)")
    add_common(parser)
    args = parser.parse(words)
    return _keygen(args.output)


def _keygen(output: str | None) -> int:
    """The private key into a file of its owner, the public one to stdout."""
    from hermetic.cli.streams import say
    from hermetic.store.trust import generate, own_key, write_key

    path = Path(output) if output else own_key()
    pem, public = generate()
    try:
        write_key(path, pem)
    except OSError as error:
        raise CommandLineError(f"{path} cannot be written: {error.strerror}") from None
    say(f"hb: wrote {path}; whoever is to read what it signs adds to pyproject.toml:")
    say(f'[tool.hb.trust]\ndefault = ["{public}"]')
    print(public)
    return 0
