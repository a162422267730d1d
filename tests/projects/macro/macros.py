"""A plain function that declares two targets."""

from rules.demo import compile


def pair(name, flags):
    compile(name=f"{name}_lib", flags=flags)
    compile(name=name, deps=[f":{name}_lib"], flags=[*flags, "-link"])
