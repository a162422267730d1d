"""``hb image``: export, describe or judge an image."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hermetic.cli.options import Parser, add_build
from hermetic.errors import CommandLineError


def main(words: Sequence[str]) -> int:
    example = "hb image tar //runtime:none-cu13-amd64 -o image.tar && docker load -i image.tar"
    parser = Parser("image", "Describe or validate an image, or write it as a tar that docker load reads.", example)
    parser.add_argument("what", choices=["inspect", "tar", "validate"])
    parser.add_argument("label", help="an image; for validate also the folder of any OCI layout")
    parser.add_argument("--output", "-o", metavar="FILE", help="where the tar goes")
    parser.add_argument("--tag", help="the name docker gives the image")
    add_build(parser)
    args = parser.parse(words)
    if args.what == "tar" and not args.output:
        raise CommandLineError("hb image tar needs --output FILE", hint=f"hb image tar {args.label} -o image.tar")
    if args.what == "validate" and (Path(args.label) / "oci-layout").exists():
        return _validate(Path(args.label))
    from hermetic.cli.building import build
    from hermetic.cli.session import session

    with session(args) as found:
        loaded, target = found.load_one(args.label)
        if target.layout != "image":
            hint = "hb query 'kind(\"image rule\", //...)' lists images"
            raise CommandLineError(f"{target.label} is not an image", hint=hint)
        code = build(found, lambda _: loaded, ["image", *words]).exit_code
        if code:
            return code
        package, _, name = target.label.removeprefix("//").partition(":")
        layout = found.out / package / name
        if args.what == "validate":
            return _validate(layout)
        if args.what == "inspect":
            from hermetic.oci.inspect import summary

            print(summary(layout))
            return 0
        from hermetic.oci.archive import docker_archive

        docker_archive(layout, Path(args.output), args.tag or f"{name}:latest")
        print(f"wrote {args.output}", file=sys.stderr)
        return 0


def _validate(layout: Path) -> int:
    """One line per finding; 1 when there is any."""
    from hermetic.oci.validate import validate_layout

    found = validate_layout(layout)
    for finding in found:
        print(finding)
    return 1 if found else 0
