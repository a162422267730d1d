"""A module with a part in C."""

import sys

from _fast import total


def main() -> None:
    print(total([int(word) for word in sys.argv[1:]]))
