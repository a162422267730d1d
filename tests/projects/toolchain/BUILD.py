"""A cross build: the compiler and the generator run on amd64, what they make is for arm64."""

from rules.demo import compile

setting(name="arch", values=["amd64", "arm64"], default="amd64")
platform(name="linux-amd64", os="linux", arch="amd64", settings={"arch": "amd64"})
platform(name="linux-arm64", os="linux", arch="arm64", settings={"arch": "arm64"})
register_toolchains("//tools/...")

compile(name="generator", reads=["arch"], on_target=True)
compile(name="program", toolchain="cc", tool=":generator", reads=["arch"], on_target=True)
