"""A circle over two packages, met from outside; two targets outside need it, it is told once."""

from rules.demo import compile

compile(name="outside", deps=["//a"])
compile(name="another", deps=["//a"])
compile(name="fine")
compile(name="closing", deps=["//a"], visibility=["//visibility:public"])
