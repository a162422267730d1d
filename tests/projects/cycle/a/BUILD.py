"""Half of the circle."""

from rules.demo import compile

compile(name="a", deps=["//:closing"], visibility=["//visibility:public"])
