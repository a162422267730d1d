"""``hb run``: build a target and run the program it made, on this machine and not in a sandbox."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_build
from hermetic.cli.secrets import PREFIX
from hermetic.errors import CommandLineError, did_you_mean


def main(words: Sequence[str]) -> int:
    example = "hb run //tools:format -- --check src"
    parser = Parser("run", "Build a target, then run its program here, outside any sandbox.", example)
    parser.add_argument("label", help="a target that makes an executable file, or a tree with bin/")
    parser.add_argument("arguments", nargs="*", help="the program's own arguments (after --)")
    parser.add_argument("--program", metavar="PATH", help="which file of the tree, when there are several")
    add_build(parser)
    args = parser.parse(words)
    from hermetic.cli.building import build
    from hermetic.cli.session import session
    from hermetic.execution.publish import shown

    with session(args) as found:
        loaded, target = found.load_one(args.label)
        if target.layout in ("image", "index"):
            hint = f"hb image tar {target.label} -o image.tar makes a file that podman load and docker load read"
            raise CommandLineError(f"{target.label} is an image", hint=hint)
        code = build(found, lambda _: loaded, ["run", *words], sys.stderr).exit_code
        if code or args.dry_run:
            return code
        program = _program(shown(target, found.out), args.program, target.label)
    return _become(program, args.arguments)


def _become(program: Path, arguments: Sequence[str]) -> int:
    sys.stderr.flush()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    try:
        os.execve(program, [str(program), *arguments], environment)
    except OSError as error:
        raise CommandLineError(f"{program} cannot be run here: {error.strerror}") from None


def _program(place: Path, wanted: str | None, label: str) -> Path:
    """The file to run. Raises CommandLineError when there is none, or more than one to choose from."""
    if not place.is_dir():
        candidates = {place.name: place}
    else:
        candidates = {str(one.relative_to(place)): one for one in sorted(place.rglob("bin/*")) if one.is_file()}
        if wanted is not None and (place / wanted).is_file():
            candidates = {wanted: place / wanted}
    candidates = {name: one for name, one in candidates.items() if os.access(one, os.X_OK)}
    if wanted is not None and wanted not in candidates:
        hint = did_you_mean(wanted, candidates) or f"it has {', '.join(candidates) or 'no program'}"
        raise CommandLineError(f"{label} has no program {wanted}", hint=hint)
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    if not candidates:
        raise CommandLineError(f"{label} makes no program", hint="name a target that makes an executable file")
    raise CommandLineError(f"{label} makes several programs", hint="--program " + " | ".join(candidates))
