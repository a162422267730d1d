"""Options that only watch are no part of what a command line is."""

from __future__ import annotations

import pytest

from hermetic.cli.watch import unwatched


@pytest.mark.parametrize(
    ("command", "rest", "files"),
    [
        ("build //a", "build //a", {}),
        ("build --profile p //a", "build //a", {"--profile": "p"}),
        ("build //a --profile=p --events=e -k", "build //a -k", {"--profile": "p", "--events": "e"}),
        ("build --events e --profile p //a", "build //a", {"--profile": "p", "--events": "e"}),
        ("build --profile=p=q //a", "build //a", {"--profile": "p=q"}),
        ("build //a --profile", "build //a", {"--profile": ""}),
        ("build --profiles p //a", "build --profiles p //a", {}),
        ("run //a -- --profile p", "run //a -- --profile p", {}),
        ("run --profile x //a -- --events e", "run //a -- --events e", {"--profile": "x"}),
    ],
)
def test_they_are_taken_out_with_their_files(command: str, rest: str, files: dict[str, str]) -> None:
    assert unwatched(command.split()) == (rest.split(), files)
