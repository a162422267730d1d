"""A macro declares targets; they belong to the line that called it."""

from macros import pair

pair(name="one", flags=["-1"])
pair(name="two", flags=["-2"])
