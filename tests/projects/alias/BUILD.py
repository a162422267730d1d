"""An alias passes on what it names, and opens it: the alias is public, its target is not."""

from rules.demo import compile

compile(name="user", deps=["//lib", "//lib:inner"])
