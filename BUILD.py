"""The root package: settings, platforms and the toolchains every build may use."""

setting(
    name="arch",
    values=["amd64", "arm64"],
    default="amd64",
    doc="CPU architecture of what is built, by Debian's names",
)
setting(name="cuda", values=["12", "13"], default="13", doc="CUDA major version")
setting(
    name="distro",
    values=["debian", "ngc"],
    default="debian",
    doc="where things come from: package registries (debian), or vendor base images and git sources (ngc)",
)
setting(
    name="framework",
    values=["none", "vllm", "sglang", "trtllm"],
    default="none",
    doc="the inference engine an image carries",
)
setting(name="enable_kvbm", default=False, doc="install the KV block manager wheel")
setting(name="enable_gpu_memory_service", default=False, doc="install the GPU memory service wheel")
setting(name="enable_media_nixl", default=False, doc="media transfers over NIXL")
setting(name="enable_media_ffmpeg", default=True, doc="build FFmpeg and ship it with its source")
setting(name="commit", default="", doc="the commit baked into the image configuration, and nowhere else")

platform(name="linux-amd64", os="linux", arch="amd64", settings={"arch": "amd64"})
platform(name="linux-arm64", os="linux", arch="arm64", settings={"arch": "arm64"})

register_toolchains("//toolchains:all")
