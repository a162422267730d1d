"""Settings that nobody reads leave no trace: compare the two requests' goldens by eye or by test."""

from rules.demo import compile

setting(name="arch", values=["amd64", "arm64"], default="amd64")
setting(name="cuda", values=["12", "13"], default="13")
setting(name="commit", default="")

compile(name="plain")
compile(name="cuda_lib", reads=["cuda"])
compile(name="image", deps=[":plain", ":cuda_lib"], reads=["commit"])
