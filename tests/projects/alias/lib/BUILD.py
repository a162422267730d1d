"""Visible to the root package only, but for the alias."""

from rules.demo import alias, compile

package(default_visibility=["//:__pkg__"])

compile(name="inner")
alias(name="lib", actual=":hidden", visibility=["//visibility:public"])
compile(name="hidden", visibility=["//visibility:private"])
