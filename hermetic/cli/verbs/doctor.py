"""``hb doctor``: what this machine allows, and how to mend what it does not."""

from __future__ import annotations

from collections.abc import Sequence

from hermetic.cli.options import Parser


def main(words: Sequence[str]) -> int:
    Parser("doctor", "Say what this machine allows, and how to mend what it does not.", "hb doctor").parse(words)
    from hermetic.sandbox.probe import findings

    bad = 0
    for one in findings():
        print(f"{'ok ' if one.ok else 'BAD'}  {one.name}: {one.detail}")
        if not one.ok:
            bad += 1
            print(f"     → {one.fix}")
    print("everything hb needs is here" if not bad else f"{bad} things to mend")
    return 1 if bad else 0
