"""One target, one file."""

from rules.demo import compile

compile(name="hello", srcs=["hello.c"])
