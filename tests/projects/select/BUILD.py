"""Selects: the most specific branch, and branches added to plain lists."""

from rules.demo import compile

setting(name="arch", values=["amd64", "arm64"], default="amd64")
setting(name="cuda", values=["12", "13"], default="13")

compile(
    name="kernel",
    flags=["-g"]
    + select({"arch=arm64": ["-arm"], "arch=arm64,cuda=12": ["-arm-old"], "default": []})
    + select({"cuda=12": ["-sm80"], "cuda=13": ["-sm90"]}),
    level=select({"cuda=12": 2, "default": 3}),
)
