"""One target under three configurations in one graph; settings that do not matter make no fourth."""

from rules.demo import compile, configured

setting(name="arch", values=["amd64", "arm64"], default="amd64")
setting(name="cuda", values=["12", "13"], default="13")

compile(name="lib", reads=["arch"])
configured(name="arm", actual=":lib", settings={"arch": "arm64"})
configured(name="amd", actual=":lib", settings={"arch": "amd64"})
configured(name="arm_cuda", actual=":lib", settings={"arch": "arm64", "cuda": "12"})
compile(name="all", deps=[":lib", ":arm", ":amd", ":arm_cuda"])
