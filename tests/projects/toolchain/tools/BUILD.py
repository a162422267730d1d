"""Toolchains by the platform they run on and the one they serve."""

from rules.demo import toolset

toolset(name="gcc", command="gcc")
toolset(name="cross", command="aarch64-gcc", reads=["arch"])
toolchain(name="native", kind="cc", exec="linux-amd64", target="linux-amd64", impl=":gcc")
toolchain(name="to_arm", kind="cc", exec="linux-amd64", target="linux-arm64", impl=":cross")
