"""With keep_going, one target is refused and the other is analysed."""

from rules.demo import compile

compile(name="good", deps=["//lib:open"])
compile(name="bad", deps=["//lib:closed"])
