"""One public target, one of its own."""

from rules.demo import compile

compile(name="open", visibility=["//visibility:public"])
compile(name="closed")
